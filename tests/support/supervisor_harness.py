"""One job under a supervisor, with a stand-in worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import Job, JobTable
from prefd.daemon.queue.supervisor import Supervisor
from prefd.daemon.runs.batch_record import BatchRecord
from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.losses import Provision
from support import fake_worker
from support.quick_timing import QUICK_TIMING


@dataclass
class Bench:
    """A home, a job table and a stand-in worker."""

    home: Home
    table: JobTable
    worker: tuple[str, ...]
    folder: Path

    def add(self, name: str, **more: Any) -> Job:
        spec = JobSpec.model_validate_json(fake_worker.spec_text(self.folder, name, **more))
        return self.table.add(spec, f"{len(self.table.list())}-{name}.yaml")

    def run(self, job: Job, catalog: Catalog | None = None, **more: Any) -> Job:
        """The job after one run; `during` is awaited beside it, `after` with the job behind it. `catalogs`: what each phase finds, the last again and again."""
        during: Callable[[], Any] | None = more.pop("during", None)
        catalogs: list[Catalog] = more.pop("catalogs", [catalog or fake_worker.catalog()])
        after: Callable[[Job], Any] | None = more.pop("after", None)
        options: dict[str, Any] = {"worker": self.worker, "timing": QUICK_TIMING} | more
        runner = Supervisor(self.home, self.table, job.id, **options)

        async def provide() -> Provision:
            now = catalogs.pop(0) if len(catalogs) > 1 else catalogs[0]
            return Provision(now, HandedSettings())

        async def both() -> Job:
            beside = asyncio.ensure_future(during()) if during else None
            ended = await asyncio.wait_for(runner.run(provide), 120)
            if beside:
                await beside
            if after:
                await after(ended)
            return ended

        return asyncio.run(both())

    def starts(self, job: Job) -> list[str]:
        """The phases that were started, in order."""
        lines = (self.home.job(job.id) / "starts.txt").read_text().splitlines()
        return [line.split()[0] for line in lines]

    def batches(self, job: Job) -> BatchRecord:
        """What was decided about the size of the job's batches."""
        return BatchRecord(self.home.job(job.id))

    def pids(self, job: Job) -> list[int]:
        return [int(line.split()[1]) for line in (self.home.job(job.id) / "starts.txt").read_text().splitlines()]


def started(bench: Bench, job: Job) -> Callable[[], bool]:
    log = bench.home.job(job.id) / "worker.log"
    return lambda: log.exists() and "hello" in log.read_text()


def after_start(bench: Bench, job: Job, act: Callable[[], object]) -> Callable[[], Any]:
    async def during() -> None:
        while not started(bench, job)():
            await asyncio.sleep(0.01)
        act()

    return during
