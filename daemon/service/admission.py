"""Admission makes jobs of spec files, both those that were dropped and claimed and those that were posted.

The life of a file, from top to bottom:

    read its specs             with the losses there are now, and paths made absolute
    refuse unknown jobs        that its own are to run after, so that none waits in a circle
    take stock                 of versions, plugins and data that each spec is run with
    queue its jobs             in one transaction, each with its frozen spec in its folder; a duplicate says of which job

A claimed file that cannot be a job goes to `jobs/rejected/` with the reasons beside it; a posted one is refused, and none of
it is kept.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from prefd.daemon.home.identity import HomeFolder, explain_copy, read_identity
from prefd.daemon.home.layout import Home, HomeUnusable
from prefd.daemon.inbox.claimed_file import Claimed
from prefd.daemon.inbox.claims import Inbox
from prefd.daemon.inbox.folder_calls import FolderCalls
from prefd.daemon.inbox.submit import keep_posted
from prefd.daemon.jobs.table import Job, JobTable
from prefd.daemon.machine.threads import P, T, run_in_thread
from prefd.daemon.runs.run_identity import ForeignFolder, RunIdentity
from prefd.daemon.runs.snapshot import Stock, freeze, take_stock
from prefd.daemon.specs.catalog import Catalog, CatalogError
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.kept_catalog import read_loss_names
from prefd.daemon.specs.losses import Losses
from prefd.daemon.specs.reading import SpecFile, read_specs
from prefd.daemon.specs.spec_error import SpecError
from prefd.daemon.text.parsed import MAX_BYTES
from prefd.daemon.text.text_fault import TextFault, locate_faults
from prefd.daemon.text.wording import clip

log = logging.getLogger(__name__)


class Call(Protocol):
    """Does work that may read files for seconds off the event loop."""

    async def __call__(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work`, and return or raise what it does."""
        ...


class Admission:
    """Makes jobs of one home's spec files. `queued`: set when there are jobs that may start."""

    def __init__(
        self,
        home: Home,
        table: JobTable,
        losses: Losses,
        inbox: Inbox,
        calls: FolderCalls,
        queued: asyncio.Event,
    ) -> None:
        self.home = home
        self.table = table
        self.losses = losses
        self.inbox = inbox
        self.calls = calls
        self.queued = queued
        self._folder = HomeFolder.find(home.root)
        self._copied = read_identity(home.root)
        """The home's identity, with the files that came with it where it is a copy."""
        self._latest_jobs: dict[int, int] = {}
        """Digest of a spec → the last job with it: 8 bytes a job."""
        self._last_read = 0
        """The last job whose spec was read for that."""

    def admitted(self) -> set[str]:
        """Return the names of the claimed files that have jobs."""
        return self.table.sources()

    async def admit(self, claimed: Claimed) -> None:
        """Make jobs of a claimed file, or reject it.

        An exception means trouble with the machine, not with the spec: the file is kept, and handed over again.
        """
        try:
            data = await self.calls.make(claimed.read, MAX_BYTES)
            file, stocks = await self._examine(data, claimed.name, self.calls.make)
        except SpecError as error:
            await self._reject(claimed, error.lines)
        else:
            self._queue(file, stocks, claimed)
            await self.calls.make(self.inbox.confirm, claimed)

    async def submit(self, data: bytes, name: str) -> list[Job]:
        """Make jobs of a posted file. Raises SpecError, CatalogError, FolderUnusable, JobTableError, OSError."""
        file, stocks = await self._examine(data, name, run_in_thread)
        claimed = await run_in_thread(keep_posted, self.home, data, name)
        jobs = self._queue(file, stocks, claimed)
        await run_in_thread(self.inbox.confirm, claimed)
        return jobs

    async def _examine(self, data: bytes, name: str, call: Call) -> tuple[SpecFile, list[Stock]]:
        """Read a file's specs, and take stock for each of them. Raises as `submit` does."""
        catalog, doubt = await self._find_catalog()
        try:
            file = await call(read_specs, data, name, catalog, self.home.jobs)
        except SpecError as error:
            doubt = await self._doubt(data, name, call, catalog, doubt)
            if doubt is None:
                raise
            raise CatalogError(f"{'; '.join(error.lines)} ({doubt})") from error
        self._refuse_unknown_jobs(file)
        return file, await call(self._take_stocks, file.specs)

    async def _find_catalog(self) -> tuple[Catalog, str | None]:
        """Return the catalogue as it is now; or the last good one, with why there is none now. Raises CatalogError."""
        try:
            return await self.losses.now(), None
        except CatalogError as error:
            if self.losses.latest is None:
                raise
            return self.losses.latest, f"the losses cannot be listed: {error}"

    async def _doubt(self, data: bytes, name: str, call: Call, catalog: Catalog, trouble: str | None) -> str | None:
        """Say why a file that is refused may be right all the same; None where it is wrong whatever the losses.

        It may be right while there is `trouble` with listing the losses, and where a loss is not there, but was before, and a
        plugin cannot be loaded.
        """
        try:
            file = await call(read_specs, data, name, None, self.home.jobs)
        except SpecError:
            return None
        if trouble is not None:
            return trouble
        missing = {name for spec in file.specs for name in spec.loss_names} - catalog.losses.keys()
        if not missing or not catalog.failures or not missing <= read_loss_names(self.home).keys():
            return None
        return "; ".join(f"plugin {plugin.name} cannot be loaded: {plugin.error}" for plugin in catalog.failed)

    def _refuse_unknown_jobs(self, file: SpecFile) -> None:
        job_ids = {job_id for spec in file.specs for job_id in spec.after}
        if unknown := sorted(job_ids - self.table.states(job_ids).keys()):
            fault = TextFault(f"there is no job {unknown[0]}", "after")
            raise SpecError(*locate_faults([fault], file.positions), file=file.file)

    def _take_stocks(self, specs: Sequence[JobSpec]) -> list[Stock]:
        return [take_stock(self.home, spec) for spec in specs]

    def _queue(self, file: SpecFile, stocks: Sequence[Stock], claimed: Claimed) -> list[Job]:
        """Add the jobs of a claimed file, or return those it has already. Raises HomeUnusable, JobTableError, OSError."""
        duplicates = [self._find_duplicate_of(spec) for spec in file.specs]
        reasons = [f"the same spec as job {job_id}" if job_id else "" for job_id in duplicates]
        hold = claimed.hold or self._explain_copied(claimed)
        self._require_home()  # after the last look at the file, which is not this home's where another lies there by now
        jobs = self.table.add_all(file.specs, claimed.source, descriptions=file.settings, reasons=reasons, hold=hold)
        for job, spec, stock in zip(jobs, file.specs, stocks):
            owner = RunIdentity(job.ulid, job.id, self.table.home_id(), job.name)
            with suppress(ForeignFolder):  # its supervisor says so
                freeze(self.home, job.id, spec, stock, owner=owner)
            reason = f": {job.reason}" if job.reason else ""
            words = (job.id, job.state, job.name, clip(claimed.name, 200), reason)
            log.info("job %d %s: %s (%s)%s", *words, extra={"job": job.id})
        for note in file.notes:
            log.info("job %d: %s", jobs[0].id, note, extra={"job": jobs[0].id})
        self.queued.set()
        return jobs

    def _explain_copied(self, claimed: Claimed) -> str:
        """Say why a file's jobs are held that lay in `jobs/` when the home was copied; "" for any other file."""
        inode = self._copied.specs.get(claimed.name) if self._copied is not None else None
        if self._copied is None or inode is None or os.stat(claimed.path).st_ino != inode:
            return ""
        return explain_copy(self._copied)

    def _find_duplicate_of(self, spec: JobSpec) -> int | None:
        """Return the last job with the same spec under any name; None where there is none. Reads each job's spec once."""
        for job_id, content in self.table.contents(self._last_read):
            self._latest_jobs[hash(content)] = self._last_read = job_id
        return self._latest_jobs.get(hash(self.table.content(spec)))

    def _require_home(self) -> None:
        """Raise HomeUnusable where the home is not there any more, or a copy of it lies at its path: its files are not this one's."""
        if (lost := self._folder.describe_loss()) is not None:
            raise HomeUnusable(lost)

    async def _reject(self, claimed: Claimed, lines: tuple[str, ...]) -> None:
        """Set a claimed file aside, with the reasons beside it. Raises HomeUnusable, OSError."""
        self._require_home()
        target = await self.calls.make(self.inbox.reject, claimed, lines)
        log.warning("rejected %s: %s", clip(target.name, 200), "; ".join(lines))
