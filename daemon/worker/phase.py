"""Running one phase of one job to an outcome that everyone can read, whatever happens inside."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from prefd.cache.bucket import CannotShare
from prefd.cache.fingerprint import BadWeights
from prefd.cache.store import NotACache
from prefd.cache.unreadable import NotPermitted
from prefd.daemon import oom
from prefd.daemon.config import ConfigError
from prefd.daemon.home import Home
from prefd.daemon.phase_outcomes import OUTCOME_OF, Outcome
from prefd.daemon.rundir import DISK_TROUBLE, Phase
from prefd.daemon.worker import stopping
from prefd.daemon.worker.data import DataError
from prefd.daemon.worker.errors import JobError, Stopped
from prefd.daemon.worker.job import Job, RunningJob
from prefd.daemon.worker.precompute import precompute
from prefd.daemon.worker.training import train
from prefd.plugins.manager import LossParameterError

log = logging.getLogger(__name__)

FAILED, NO_ROOM, STOPPED = 1, 74, 75
PHASES: dict[Phase, Callable[[RunningJob, stopping.StopEvent], Outcome]] = {"precompute": precompute, "training": train}
EXPECTED = (JobError, DataError, BadWeights, CannotShare, NotACache, NotPermitted, ConfigError, LossParameterError)


def run_phase(phase: Phase, root: Path, job_id: int) -> int:
    """Run `phase` and write its outcome; returns the process's exit code."""
    stop = stopping.on_signals()
    stopping.watch_parent(stop)
    job = RunningJob.load(Home(root), job_id)
    job.run.forget_outcome(phase)
    for change in job.changes:
        log.warning("%s", change)
    try:
        return _run(phase, job, stop)
    except OSError as error:
        if error.errno not in DISK_TROUBLE:
            raise
        log.error("%s", error)
        return NO_ROOM


def _run(phase: Phase, job: RunningJob, stop: stopping.StopEvent) -> int:
    try:
        outcome = PHASES[phase](job, stop)
    except Stopped as stopped:
        log.info("%s", stopped)
        return STOPPED
    except EXPECTED as error:
        log.error("%s", error)
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in DISK_TROUBLE:
            return NO_ROOM
        outcome = OUTCOME_OF[phase](ok=False, reason=str(error))
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_TROUBLE:
            raise
        if reason := no_memory(error, job):
            log.exception("out of memory in %s", phase)
        else:
            log.exception("unexpected error in %s", phase)
            reason = f"{type(error).__name__}: {error} (the traceback is in worker.log)"
        outcome = OUTCOME_OF[phase](ok=False, reason=reason)
    return _end(job, phase, outcome)


def _end(job: RunningJob, phase: Phase, outcome: Outcome) -> int:
    if job.changes:
        outcome = outcome.with_warnings(job.changes)
    job.run.write_outcome(phase, outcome)
    return 0 if outcome.ok else FAILED


def no_memory(error: Exception, job: Job) -> str | None:
    """In words, with the settings to change, where `error` is that memory ran out."""
    said = f"{type(error).__name__}: {error}"
    if not isinstance(error, MemoryError | RuntimeError) or not oom.SAID.search(said):
        return None
    training = job.spec.training
    ways = oom.remedy(training) if training else "a smaller data.max_length"
    return f"the worker ran out of memory ({said}). Make the job smaller and submit it again: {ways}"
