"""Running one phase of one job to an outcome that everyone can read, whatever happens inside."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from prefd.cache.bucket import CannotShare
from prefd.cache.fingerprint import BadWeights
from prefd.cache.store import NotACache
from prefd.cache.unreadable import NotPermitted
from prefd.daemon.config import ConfigError
from prefd.daemon.home import Home
from prefd.daemon.rundir import Outcome, Phase
from prefd.daemon.worker import stopping
from prefd.daemon.worker.data import DataError
from prefd.daemon.worker.errors import JobError, Stopped
from prefd.daemon.worker.job import Job
from prefd.daemon.worker.precompute import precompute
from prefd.daemon.worker.training import train
from prefd.plugins.manager import LossParameterError

log = logging.getLogger(__name__)

FAILED, STOPPED = 1, 75
PHASES: dict[Phase, Callable[[Job, stopping.StopEvent], Outcome]] = {"precompute": precompute, "training": train}
EXPECTED = (JobError, DataError, BadWeights, CannotShare, NotACache, NotPermitted, ConfigError, LossParameterError)


def run_phase(phase: Phase, root: Path, job_id: int) -> int:
    """Run `phase` and write its outcome; returns the process's exit code."""
    stop = stopping.on_signals()
    stopping.watch_parent(stop)
    job = Job.load(Home(root), job_id)
    job.run.forget_outcome(phase)
    try:
        outcome = PHASES[phase](job, stop)
    except Stopped as stopped:
        log.info("%s", stopped)
        return STOPPED
    except EXPECTED as error:
        log.error("%s", error)
        outcome = Outcome(False, str(error))
    except Exception as error:
        log.exception("unexpected error in %s", phase)
        outcome = Outcome(False, f"{type(error).__name__}: {error} (the traceback is in worker.log)")
    job.run.write_outcome(phase, outcome)
    return 0 if outcome.ok else FAILED
