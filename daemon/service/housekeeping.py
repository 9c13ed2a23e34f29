"""Housekeeping does what may take long on the disk, in threads: it deletes what removed jobs left, and measures folders.

It works when it is woken: at the start (what a crash has left is finished then), after a removal, and after a job's end. What
fails is logged, and done at the next waking or the next start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.leftovers import delete_set_aside, list_set_aside, set_leftovers_aside
from prefd.daemon.jobs.table import JobTable, JobTableError
from prefd.daemon.machine.threads import run_in_thread
from prefd.daemon.runs.archive import delete_partial_archives
from prefd.daemon.runs.disk_usage import RunSize, measure_run
from prefd.daemon.runs.run_folder import RunDir

log = logging.getLogger(__name__)

CHUNK = 100
"""So many folders are measured between two writes."""


class Housekeeping:
    """Keeps the house of one home."""

    def __init__(self, home: Home, table: JobTable) -> None:
        self.home = home
        self.table = table
        self._work = asyncio.Event()
        self._work.set()
        self._deleted = asyncio.Condition()

    def wake(self) -> None:
        """Have what there is to do done soon."""
        self._work.set()

    async def run(self) -> None:
        """Work whenever there is something to do, for ever."""
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self._delete()
                await self._measure()
            except (JobTableError, OSError) as error:
                log.warning("housekeeping: %s", error)

    async def wait_for_deletion(self, seconds: float) -> None:
        """Wait until nothing is to be deleted any more, and for so many seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._deleted:
                await self._deleted.wait_for(lambda: not self.table.leftovers() and not list_set_aside(self.home))

    async def _delete(self) -> None:
        await run_in_thread(delete_partial_archives, self.home.archive)
        done, _ = await run_in_thread(set_leftovers_aside, self.home, self.table.leftovers())
        self.table.forget_leftovers(done)
        await run_in_thread(delete_set_aside, self.home)
        async with self._deleted:
            self._deleted.notify_all()

    async def _measure(self) -> None:
        """Measure the folders of jobs that have ended since they were last measured, the newest first, once each."""
        unmeasured = self.table.unmeasured()
        for start in range(0, len(unmeasured), CHUNK):
            if self._work.is_set():  # a removal does not wait for this; the rest is measured behind it
                return
            self.table.set_sizes(await run_in_thread(self._measure_runs, unmeasured[start : start + CHUNK]))

    def _measure_runs(self, job_ids: Sequence[int]) -> dict[int, RunSize]:
        return {job_id: measure_run(RunDir(self.home.job(job_id))) for job_id in job_ids}
