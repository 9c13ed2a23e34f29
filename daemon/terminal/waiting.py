"""`describe_waiting` says what a queued job waits for: a moment in the time zone of the reader, for the daemon may have another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefd.daemon.jobs.job import NOT_BEFORE
from prefd.daemon.text.times import format_moment

if TYPE_CHECKING:
    from prefd.daemon.jobs.job import Job


def describe_waiting(job: Job) -> str:
    """Say why the job is queued and does not run; "" where nothing is said of it."""
    if job.not_before is not None and job.waiting.startswith(NOT_BEFORE):
        return NOT_BEFORE + format_moment(job.not_before)
    return job.waiting
