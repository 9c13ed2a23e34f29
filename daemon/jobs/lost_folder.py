"""`find_lost_folder` notices that a job's folder was removed by hand, or overwritten: nothing of the job can be shown any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefd.daemon.runs.run_identity import find_stranger

if TYPE_CHECKING:
    from prefd.daemon.jobs.job import Job
    from prefd.daemon.runs.run_folder import RunDir


def find_lost_folder(job: Job, run: RunDir) -> str:
    """Say that the job's folder is gone, or is another job's; empty where it is there, or the job has not begun.

    The spec is what tells: it is frozen into the folder before anything else, and the record of the row, which the daemon may
    write again, makes no folder of a job.
    """
    if job.ulid and (stranger := find_stranger(run.root, job.ulid)) is not None:
        return f"its folder {run.root} holds files of another job: {stranger.describe()}"
    if job.started_at is None or run.spec.exists():
        return ""
    return f"its folder {run.root} is gone"


def explain_missing(job: Job, lost: str, what: str) -> str:
    """Say why a job has no log or no metrics: its folder is gone (`lost`), or it has not come so far."""
    if lost:
        return f"has no {what} any more: {lost}"
    return f"has no {what}: it is {job.state}" if job.ended else f"has no {what} yet: it is {job.state}"
