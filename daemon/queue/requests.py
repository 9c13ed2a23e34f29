"""JobRequests tells a supervisor that its job is to be cancelled or paused, or that its process is to stop.

A change of the job's row through this process's table, or the request to stop, wakes the supervisor, so it reads the table
only after a change. A write by another process wakes nobody: the loop that runs the queue, and `prefd run`, notice it and
wake the table's listeners.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from prefd.daemon.jobs.table import Job, JobTable
from prefd.daemon.queue.stop_request import Stop


class JobRequests:
    """JobRequests holds the requests for the job `job_id` of `table`, in a process that `stop` ends."""

    def __init__(self, table: JobTable, job_id: int, stop: Stop) -> None:
        self.table = table
        self.job_id = job_id
        self.stop = stop
        self._news = asyncio.Event()
        self._job: Job | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen for changes inside the block."""
        with self.stop.listening(self._news), self.table.listening(self.job_id, self._news):
            self._job = None
            yield

    def wake(self) -> None:
        """End a `wait`, and have the job read again."""
        self._news.set()

    @property
    def job(self) -> Job:
        """Returns the job as of the last news."""
        if self._job is None or self._news.is_set():
            self._news.clear()
            self._job = self.table.get(self.job_id)
        return self._job

    @property
    def to_stop(self) -> bool:
        """Says whether the job is not to run on."""
        return self.stop.is_set() or self.job.cancel_requested or self.job.pausing

    async def wait(self, seconds: float) -> None:
        """Wait until there is news, and for so many seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
