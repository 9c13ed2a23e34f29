"""JobRequests is what is asked of one job while it runs: that it is cancelled or paused, or that its process stops.

Whoever changes the job's row through this process's table, or requests the stop, wakes the one who waits here, so the
table is read only after it was changed. What another process writes into the database wakes nobody: the loop that runs
the queue, and `prefd run`, notice that and tell the table's listeners.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from prefd.daemon.jobs.table import Job, JobTable
from prefd.daemon.queue.stop_request import Stop


class JobRequests:
    """Of the job `job_id` of `table`, in a process that `stop` ends."""

    def __init__(self, table: JobTable, job_id: int, stop: Stop) -> None:
        self.table = table
        self.job_id = job_id
        self.stop = stop
        self._news = asyncio.Event()
        self._job: Job | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Be told of changes inside the block."""
        with self.stop.listening(self._news), self.table.listening(self.job_id, self._news):
            self._job = None
            yield

    def wake(self) -> None:
        """End a `wait` that goes on, and have the job read anew."""
        self._news.set()

    @property
    def job(self) -> Job:
        """The job as of the last news."""
        if self._job is None or self._news.is_set():
            self._news.clear()
            self._job = self.table.get(self.job_id)
        return self._job

    @property
    def to_stop(self) -> bool:
        """Whether the job is not to run on."""
        return self.stop.is_set() or self.job.cancel_requested or self.job.pausing

    async def wait(self, seconds: float) -> None:
        """Until there is news, and for so many seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
