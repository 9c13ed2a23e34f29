"""Runs one job in this process, for `prefd run`."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.home.runs_owner import claim_runs
from prefd.daemon.home.settings import Config
from prefd.daemon.home.worker_limits import WorkerLimits
from prefd.daemon.jobs.table import Job, JobTable, JobTableError
from prefd.daemon.machine.interpreter import WORKER
from prefd.daemon.queue.reporting import Reporting
from prefd.daemon.queue.stop_request import Stop
from prefd.daemon.queue.supervisor import OnUpdate, Supervisor
from prefd.daemon.queue.worker_ahead import WorkerAhead
from prefd.daemon.runs.disk_usage import measure_run
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.losses import Provision
from prefd.daemon.timing import Timing
from prefd.plugins.errors import describe_exception

DRAWN = Timing(worker_look=0.2)
"""The worker's progress is drawn here, and so looked at more often."""


def run_in_foreground(
    home: Home,
    spec: JobSpec,
    source: str,
    catalog: Catalog,
    on_update: OnUpdate | None = None,
    *,
    grace: float = 60.0,
    worker: Sequence[str] = WORKER,
    limits: WorkerLimits | None = None,
    timing: Timing = DRAWN,
    ahead: WorkerAhead | None = None,
) -> Job:
    """Add the job as this process's own, run it here, and return it when it has ended.

    `spec` is validated, with absolute paths; without `training` it only fills the cache. SIGINT and SIGTERM end it as
    cancelled, once its worker has stopped. `ahead`: a worker that is there already. Main thread only. Raises JobTableError, ConfigError.
    """
    if ahead is not None and spec.ranks != 1:  # ranks share the cores out before anything is imported
        ahead.end()
    home.create()
    claim_runs(home)
    config = Config.load(home)
    settings = HandedSettings.from_config(config, home, catalog.failures)
    reporting = Reporting(home, lambda: config, worker, timing)
    with JobTable.open(home.database) as table:
        job = table.add(spec, source, owner=f"run:{os.getpid()}")
        stop = Stop()
        supervisor = Supervisor(
            home,
            table,
            job.id,
            worker=worker,
            grace=grace,
            stop=stop,
            when_stopped="cancelled",
            on_update=on_update,
            limits=limits,
            on_training=reporting.begin,
            timing=timing,
            ahead=ahead,
        )

        async def provide() -> Provision:
            return Provision(catalog, settings)

        async def run() -> Job:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(number, stop.request)
            passing_on = asyncio.create_task(pass_on_changes(table, job.id, timing.database_look))
            try:
                ended = await supervisor.run(provide)
            finally:
                passing_on.cancel()
                reporting.end(table.get(job.id))
            await reporting.wait()
            return ended

        try:
            ended = asyncio.run(run())
            table.set_sizes({job.id: measure_run(RunDir(home.job(job.id)))})
            return ended
        except BaseException as error:
            if not table.get(job.id).ended:
                table.transition(job.id, "failed", f"`prefd run` broke off: {describe_exception(error)}")
            raise


async def pass_on_changes(table: JobTable, job_id: int, pause: float) -> None:
    """Wake the job's listeners when another process, such as `prefd cancel`, has written to the database.

    `pause`: seconds between two looks.
    """
    while True:
        await asyncio.sleep(pause)
        try:
            changed = table.was_changed_elsewhere()
        except JobTableError:  # reading the job raises it too, where it is reported
            changed = True
        if changed:
            table.tell(job_id)
