"""How a spec file becomes jobs: read, examined, and queued with what it was examined with."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from prefd.daemon.catalog import Losses
from prefd.daemon.frozen import Stock, freeze, take_stock
from prefd.daemon.home import Home
from prefd.daemon.inbox import Claimed
from prefd.daemon.jobs import Job, JobTable
from prefd.daemon.spec import JobSpec
from prefd.daemon.specfile import SpecError, SpecFile, read_specs
from prefd.daemon.text import clip
from prefd.daemon.twins import Twins

log = logging.getLogger(__name__)


Ask = Callable[..., Awaitable[Any]]
"""ask(work, *its arguments): does what may read files for seconds off the event loop, and gives what it gives."""


class Admission:
    """Of one home. `wake`: called when there are jobs that may start."""

    def __init__(self, home: Home, table: JobTable, losses: Losses, wake: Callable[[], None]) -> None:
        self.home = home
        self.table = table
        self.losses = losses
        self.wake = wake
        self.twins = Twins(table)

    async def examine(self, data: bytes, name: str, ask: Ask) -> tuple[SpecFile, list[Stock]]:
        """What a file of these bytes and that name asks for, and what there is besides each of its specs.

        Raises SpecError, CatalogError, OSError, and what `ask` raises.
        """
        file: SpecFile = await ask(read_specs, data, name, await self.losses.now(), self.home.jobs)
        self._refuse_unknown(file)
        stocks: list[Stock] = await ask(self._take_stock, file.specs)
        return file, stocks

    def queue(self, file: SpecFile, stocks: Sequence[Stock], claimed: Claimed) -> list[Job]:
        """The jobs of a claimed file; those there are already, where it has some. Raises JobTableError, OSError."""
        twins = [self.twins.of(spec) for spec in file.specs]
        reasons = [f"the same spec as job {twin}" if twin else "" for twin in twins]
        jobs = self.table.add_all(file.specs, claimed.source, descriptions=file.settings, reasons=reasons)
        for job, spec, stock in zip(jobs, file.specs, stocks):
            freeze(self.home, job.id, spec, stock)
            said = f": {job.reason}" if job.reason else ""
            file_name = clip(claimed.name, 200)
            log.info("job %d queued: %s (%s)%s", job.id, job.name, file_name, said, extra={"job": job.id})
        for note in file.notes:
            log.info("job %d: %s", jobs[0].id, note, extra={"job": jobs[0].id})
        self.wake()
        return jobs

    def _take_stock(self, specs: Sequence[JobSpec]) -> list[Stock]:
        return [take_stock(self.home, spec) for spec in specs]

    def _refuse_unknown(self, file: SpecFile) -> None:
        """The jobs that its jobs are to run after must be there already: so none waits in a circle. Raises SpecError."""
        wanted = {each for spec in file.specs for each in spec.after}
        if unknown := sorted(wanted - self.table.states(wanted).keys()):
            raise SpecError(f"{file.file}: after: there is no job {unknown[0]}")
