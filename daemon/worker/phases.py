"""Runs the phases of one job, and writes the outcome of each to the job's folder, whatever happens inside.

Between two phases nothing of the first one's model is left in memory; the modules and the job's tokenized pairs stay.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from prefd.daemon.errors import EXPECTED, WorkerExit
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.cloud import InCloud
from prefd.daemon.machine.files import DISK_TROUBLE
from prefd.daemon.runs.next_phase import NextPhase
from prefd.daemon.runs.phase_outcomes import OUTCOME_OF, LiveOutcome, Outcome, PrecomputeOutcome
from prefd.daemon.runs.phases import Phase
from prefd.daemon.timing import USUAL, Timing
from prefd.daemon.worker import stopping
from prefd.daemon.worker.device_trouble import find_rank_trouble, is_device_trouble, is_out_of_memory
from prefd.daemon.worker.downloads import await_downloads, is_in_cloud
from prefd.daemon.worker.errors import Stopped
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import memory
from prefd.daemon.worker.passing_faults import is_broken_installation, is_outage
from prefd.daemon.worker.ranks.mate import LostRank
from prefd.daemon.worker.reference.precompute import precompute
from prefd.daemon.worker.training.plan import refuse_untrainable
from prefd.daemon.worker.training.train import train
from prefd.plugins.errors import describe_exception

log = logging.getLogger(__name__)


def plan_and_precompute(job: RunningJob, stop: stopping.StopEvent) -> PrecomputeOutcome:
    """Run the reference pass of `job`, once it is known that the job can be trained. Raises as `refuse_untrainable` and `precompute` do."""
    began = time.monotonic()
    if job.spec.training is not None:
        refuse_untrainable(job)
    return precompute(job, stop, began)


def serve_session(job: RunningJob, stop: stopping.StopEvent) -> LiveOutcome:
    """Do what the client of a live session asks for, until the session ends. Raises as `serving.serve_session` does."""
    from prefd.daemon.worker.live import serving  # no other phase needs its room

    return serving.serve_session(job, stop)


PHASES: dict[Phase, Callable[[RunningJob, stopping.StopEvent], Outcome]] = {
    "precompute": plan_and_precompute,
    "training": train,
    "live": serve_session,
}


def run_phases(phase: Phase, root: Path, job_id: int, line: NextPhase | None = None) -> WorkerExit:
    """Run `phase`, and while it has ended well, the phase that `line` names then. Returns the process's exit code."""
    stop = stopping.watch_signals()
    stopping.watch_parent(stop)
    job = RunningJob.load(Home(root), job_id)
    while True:
        code = _run(phase, job, stop)
        if code != WorkerExit.DONE or line is None or stop.is_set():
            return code
        memory.release_arrays()
        following = line.wait()
        if following is None:
            return code
        phase, job = following, job.load_again()


def _run(phase: Phase, job: RunningJob, stop: stopping.StopEvent, timing: Timing = USUAL) -> WorkerExit:
    """Run one phase to its outcome, and return the exit code of a process that runs no other."""
    job.run.forget_outcome(phase)
    try:
        await_downloads(job.spec, stop, timing)
    except Stopped as stopped:
        log.info("%s", stopped)
        return WorkerExit.STOPPED
    except InCloud as error:
        log.error("%s", error)
        return WorkerExit.NO_FILE
    for change in job.changes:
        log.warning("%s", change)
    try:
        memory.bound_device_memory(job.parallel)
        return _run_to_outcome(phase, job, stop)
    except OSError as error:
        if error.errno not in DISK_TROUBLE:
            raise
        log.error("%s", error)
        return WorkerExit.NO_ROOM


def _run_to_outcome(phase: Phase, job: RunningJob, stop: stopping.StopEvent) -> WorkerExit:
    try:
        outcome = PHASES[phase](job, stop)
    except Stopped as stopped:
        log.info("%s", stopped)
        return WorkerExit.STOPPED
    except EXPECTED as error:
        log.error("%s", error)
        if (passing := _find_passing_exit(error)) is not None:
            return passing
        outcome = OUTCOME_OF[phase](ok=False, reason=str(error))
        if is_broken_installation(error):  # or the job needs what is not there in any case: the outcome counts then
            _write_outcome(job, phase, outcome)
            return WorkerExit.NOT_READY
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_TROUBLE:
            raise
        if is_in_cloud(error):
            log.error("%s", describe_exception(error))
            return WorkerExit.NO_FILE
        if is_outage(error) or is_broken_installation(error):
            log.exception("in %s", phase)
            log.error("%s", describe_exception(error))  # the last line of the log is the reason
            return WorkerExit.NO_NETWORK if is_outage(error) else WorkerExit.NOT_READY
        if is_out_of_memory(error) or is_device_trouble(error):
            log.exception("in %s", phase)
            log.error("%s", describe_exception(error))
            return WorkerExit.NO_MEMORY if is_out_of_memory(error) else WorkerExit.DEVICE_TROUBLE
        log.exception("unexpected error in %s", phase)
        reason = f"{describe_exception(error)} (the traceback is in worker.log)"
        outcome = OUTCOME_OF[phase](ok=False, reason=reason)
    return _write_outcome(job, phase, outcome)


def _find_passing_exit(error: BaseException) -> WorkerExit | None:
    """Find how a worker ends whose error is not the job's, and passes; None for any other."""
    ranks = [each for each in (error, error.__cause__) if isinstance(each, LostRank)]
    if ranks and (trouble := find_rank_trouble(str(ranks[-1]))) is not None:  # though a rank said so before it began
        return trouble
    if isinstance(error, LostRank):
        return WorkerExit.LOST_RANK
    if isinstance(error.__cause__, OSError) and error.__cause__.errno in DISK_TROUBLE:
        return WorkerExit.NO_ROOM
    if is_in_cloud(error):
        return WorkerExit.NO_FILE
    return WorkerExit.NO_NETWORK if is_outage(error) else None


def _write_outcome(job: RunningJob, phase: Phase, outcome: Outcome) -> WorkerExit:
    if job.changes:
        outcome = outcome.with_warnings(job.changes)
    job.run.write_outcome(phase, outcome)
    return WorkerExit.DONE if outcome.ok else WorkerExit.FAILED
