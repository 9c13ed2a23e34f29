"""The daemon: watch the folder, claim specs, run jobs when it is their turn, and outlive all of them.

Three loops share one event loop and one job table: the watcher wakes the claimer, the claimer wakes the worker. None
of them may end of an exception: it is logged, and the loop goes on after a pause.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib import metadata
from typing import Any

import psutil

from prefd.daemon import control, lock
from prefd.daemon.actions import JOB_ACTIONS, QUEUE_ACTIONS
from prefd.daemon.catalog import Catalog, CatalogError, load_catalog
from prefd.daemon.config import Config
from prefd.daemon.frozen import Stock, freeze, take_stock
from prefd.daemon.home import Home
from prefd.daemon.inbox import Claimed
from prefd.daemon.intake import Intake
from prefd.daemon.jobs import RUNNING, Job, JobTable, JobTableError, Unreadable
from prefd.daemon.logs import start_logging
from prefd.daemon.notify import Notifier
from prefd.daemon.posted import keep_posted
from prefd.daemon.process import WORKER, end
from prefd.daemon.pulse import Pulse, report
from prefd.daemon.rebuild import mend, open_table
from prefd.daemon.rundir import DISK_TROUBLE, RunDir
from prefd.daemon.spec import JobSpec, Reference
from prefd.daemon.specfile import SpecError, SpecFile, read_specs
from prefd.daemon.supervisor import Stop, Supervisor
from prefd.daemon.systemd import ServiceManager
from prefd.daemon.text import clip
from prefd.daemon.turns import Limits, take_turns
from prefd.daemon.twins import Twins

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
"""After an unexpected failure, so that one that stays does not fill the log."""

REFUSED_SECONDS = 5.0
"""After a disk has refused a change of a job's state."""
STEP_SECONDS = 180.0
"""What a loop does between two signs of life takes less, beside a worker's end: listing the plugins may take 120."""

STOP_MARGIN_SECONDS = 30.0

REST = 4.0
"""Times as long as it takes to look through the queue, nobody looks again: a burst of files is not slowed by each of them."""


class Service:
    """One daemon. The home's lock is held by whoever makes it."""

    def __init__(
        self,
        home: Home,
        config: Config,
        table: JobTable,
        worker: Sequence[str] = WORKER,
        manager: ServiceManager | None = None,
    ) -> None:
        self.home = home
        self.config = config
        self.table = table
        self.worker = worker
        self.stop = Stop()
        self.pulse = Pulse()
        self.manager = manager or ServiceManager()
        alive = functools.partial(self._alive, self._take_dropped)
        self.intake = Intake(home, config.watch, table.sources, self._admit, self.stop.is_set, alive)
        self.twins = Twins(table)
        self.queued = asyncio.Event()
        self.started_at = time.time()
        self.started = time.monotonic()
        self.socket = str(home.socket)
        self.limits = Limits(config.parallel, config.groups)
        self.running: dict[int, asyncio.Task[None]] = {}
        self._refused: dict[int, str] = {}
        self._references: dict[int, Reference | None] = {}
        self.catalog: Catalog | None = None
        self.catalog_error: str | None = None

    async def run(self) -> None:
        """Until a stop is requested and the running job has been put back."""
        with control.listening(self.home) as listener:
            self.socket = str(listener.getsockname())
            lock.announce(self.home, self.socket)
            helpers = [
                asyncio.create_task(control.serve_control(self, listener)),
                asyncio.create_task(self.intake.watcher.run()),
                asyncio.create_task(report(self.manager, self.pulse, self.socket, self._in_a_line)),
                asyncio.create_task(Notifier(self.home, self.config.notify, self.table).run()),
            ]
            log.info("serving %s", self.home.root)
            try:
                await asyncio.gather(self._keep(self._take_dropped), self._keep(self._run_queued))
                await asyncio.gather(*self.running.values(), return_exceptions=True)  # each puts its job back
            finally:
                for helper in helpers:
                    helper.cancel()
                await asyncio.gather(*helpers, return_exceptions=True)
        log.info("stopped")

    # --- what the control API asks

    def status(self) -> dict[str, Any]:
        """See Client.status."""
        active = [
            job.to_json() | {"progress": self._progress(job)} for job in map(self.table.get, sorted(self.running))
        ]
        return {
            "pid": psutil.Process().pid,
            "version": metadata.version("prefd"),
            "started_at": self.started_at,
            "uptime_s": time.monotonic() - self.started,
            "home": str(self.home.root),
            "socket": self.socket,
            "stopping": self.stop.is_set(),
            "active": active,
            "jobs": self.table.counts(),
            "queue": {"paused_at": self.table.queue_paused_at()},
            "watcher": asdict(self.intake.health),
            "catalog": {"error": self.catalog_error, "losses": len(self.catalog.losses) if self.catalog else 0},
            "worker": self.config.worker.model_dump() | {"limits": self.config.worker.describe()},
            "memory_rss_bytes": psutil.Process().memory_info().rss,
        }

    def request_stop(self) -> None:
        log.info("stopping" if not self.stop.is_set() else "stopping without waiting")
        patience = self.config.stop_grace_seconds + STOP_MARGIN_SECONDS
        self.manager.tell(STOPPING=1, EXTEND_TIMEOUT_USEC=int(patience * 1e6))
        self.stop.request()
        self.intake.changed.set()
        self.queued.set()

    def act(self, action: str, job_id: int) -> Job:
        """See Controlled."""
        job = JOB_ACTIONS[action](self.table, job_id)
        self.queued.set()
        return job

    def act_on_queue(self, action: str) -> dict[str, Any]:
        """See Controlled."""
        jobs = [job.to_json() for job in QUEUE_ACTIONS[action](self.table)]
        self.queued.set()
        return {"queue": {"paused_at": self.table.queue_paused_at()}, "jobs": jobs}

    def _in_a_line(self) -> str:
        """What it does, for `systemctl status`."""
        counts = [f"{count} {state}" for state, count in self.table.counts().items() if count]
        paused = ["the queue is paused"] if self.table.queue_paused_at() is not None else []
        return "; ".join([*(["stopping"] if self.stop.is_set() else []), *paused, ", ".join(counts) or "no jobs yet"])

    async def submit(self, data: bytes, name: str) -> list[Job]:
        """See Controlled."""
        file = await asyncio.to_thread(read_specs, data, name, await self._catalog(), self.home.jobs)
        if refused := self._unknown(file):
            raise SpecError(refused)
        stocks = await asyncio.to_thread(self._take_stock, file.specs)
        return self._queue(file, await asyncio.to_thread(keep_posted, self.home, data, name), stocks)

    def _progress(self, job: Job) -> dict[str, Any] | None:
        progress = RunDir(self.home.job(job.id)).progress()
        return None if progress is None else asdict(progress)

    # --- the loops

    async def _keep(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` again and again until the stop, whatever it raises."""
        while not self.stop.is_set():
            try:
                await self._or_mend(work)
            except Exception:
                log.exception("this should not happen; going on")
                await self._pause(PAUSE_SECONDS)
        self.pulse.rest(work.__name__)

    async def _or_mend(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Unreadable as error:
            log.error("%s", error)
            mend(self.home, self.table, error.why)

    def _alive(self, work: Callable[[], Awaitable[None]], waits: float = 0.0) -> None:
        """`work` is about to do something, or to wait for so many seconds."""
        self.pulse.beat(work.__name__, waits + self.config.stop_grace_seconds + STEP_SECONDS)

    async def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.stop.is_set():
            await asyncio.sleep(0.1)

    async def _take_dropped(self) -> None:
        """Claim and admit files for as long as the daemon runs."""
        self._alive(self._take_dropped)
        with suppress(CatalogError):
            await self._catalog()  # now, so that the first drop need not wait for it
        await self.intake.run()

    async def _admit(self, claimed: Claimed) -> None:
        """A claimed file becomes a queued job, or those of its sweep, or goes to rejected/ with the reason beside it.

        What this raises is the machine's trouble, and the file is handed over again.
        """
        try:
            catalog = await self._catalog()
            data = await self.intake.ask(claimed.read)
            file = await self.intake.ask(read_specs, data, claimed.name, catalog, self.home.jobs)
        except SpecError as error:
            await self.intake.reject(claimed, error.lines)
        except CatalogError as error:
            if isinstance(error.__cause__, OSError):  # the machine's trouble, not the spec's
                raise
            lines = (f"the losses cannot be listed: {error}", "put it right and drop the file again")
            await self.intake.reject(claimed, lines)
        else:
            if refused := self._unknown(file):
                await self.intake.reject(claimed, (refused,))
                return
            self._queue(file, claimed, await self.intake.ask(self._take_stock, file.specs))

    def _take_stock(self, specs: Sequence[JobSpec]) -> list[Stock]:
        return [take_stock(self.home, spec) for spec in specs]

    def _queue(self, file: SpecFile, claimed: Claimed, stocks: Sequence[Stock]) -> list[Job]:
        """A claimed file's jobs, queued."""
        jobs = self.table.add_all(file.specs, claimed.source, descriptions=file.settings)
        for job, spec, stock in zip(jobs, file.specs, stocks):
            freeze(self.home, job.id, spec, stock)
            log.info("job %d queued: %s (%s)", job.id, job.name, clip(claimed.name, 200))
            if job.reason == "" and (twin := self.twins.before(job.id)) is not None:
                log.info("job %d: %s", job.id, self.table.note(job.id, f"the same spec as job {twin}").reason)
        for note in file.notes:
            log.info("job %d: %s", jobs[0].id, note)
        self.queued.set()
        return jobs

    def _unknown(self, file: SpecFile) -> str | None:
        """What is wrong with the jobs that its jobs are to run after. They are there already: so none waits in a circle."""
        wanted = {each for spec in file.specs for each in spec.after}
        unknown = sorted(wanted - self.table.states(wanted).keys())
        return f"{file.file}: after: there is no job {unknown[0]}" if unknown else None

    async def _catalog(self) -> Catalog:
        """The losses as they are now. Raises CatalogError."""
        try:
            self.catalog = await asyncio.to_thread(load_catalog, self.home, self.worker)
        except CatalogError as error:
            self.catalog_error = str(error)
            raise
        self.catalog_error = None
        return self.catalog

    async def _run_queued(self) -> None:
        """Put back what says that it runs and does not, then start the jobs whose turn it is."""
        while not self.stop.is_set():
            self._alive(self._run_queued, waits=self.config.watch.rescan_seconds)
            self.queued.clear()
            began = time.monotonic()
            self.table.check_there()
            self.table.write_missing_records()
            await self._recover()
            for job in self._take_turns():
                task = self.running[job.id] = asyncio.create_task(self._run(job))
                task.add_done_callback(functools.partial(self._ended, job.id))
            rescan = self.config.watch.rescan_seconds  # an orphan's end may have taken a minute: nobody rests that long
            await asyncio.sleep(min(REST * (time.monotonic() - began), rescan))
            await _wait(self.queued, self.config.watch.rescan_seconds)

    def _take_turns(self) -> list[Job]:
        """The jobs to start now; it is written down why the others wait, or will never start."""
        jobs = [job for job in self.table.list("queued", *RUNNING) if job.owner == "daemon"]
        queued = [job for job in jobs if job.state == "queued" and job.id not in self.running]
        turns = take_turns(
            queued,
            [job for job in jobs if job.id in self.running],
            self.table.states({each for job in queued for each in job.after}),
            self.limits,
            time.time(),
            paused=self.table.queue_paused_at() is not None,
            scores_with=self._scores_with,
        )
        for job_id, reason in turns.failed.items():
            self.table.transition(job_id, "failed", reason)
            log.info("job %d failed: %s", job_id, reason)
            self.queued.set()  # for those that were to run after this one
        self.table.tell_waiting(turns.waiting)
        return turns.start

    def _scores_with(self, job: Job) -> Reference | None:
        """The reference whose entries a job may miss; None where it scores nothing, or no other job runs beside it.

        Which entries they are is not known without a tokenizer. So two jobs of one reference and different pairs wait for
        each other too: that costs little, since both would load the same model for it.
        """
        if self.limits.together == 1:
            return None
        if job.id not in self._references:
            self._references[job.id] = self._reference(job.id)
        return self._references[job.id]

    def _reference(self, job_id: int) -> Reference | None:
        try:
            spec = self.table.spec(job_id)
        except ValueError:  # of another version of prefd: the supervisor says what is wrong with it
            return None
        if spec.training is not None and self.catalog is not None:
            known = all(loss.name in self.catalog.losses for loss in spec.losses.values())
            if known and not self.catalog.need_reference(spec.losses.values()):
                return None
        return spec.scored_by

    def _ended(self, job_id: int, task: asyncio.Task[None]) -> None:
        del self.running[job_id]
        self._references.pop(job_id, None)
        self.queued.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("job %d: its state could not be written; it is put back", job_id, exc_info=error)

    async def _run(self, job: Job) -> None:
        """Whatever happens here is this job's failure, not the next one's."""
        try:
            await self._supervise(job)
        except CatalogError as error:
            self.table.transition(job.id, "failed", f"the losses cannot be listed: {error}")
        except Exception as error:
            if refused(error):
                log.error("job %d waits, for its state cannot be written: %s", job.id, error)
                self._refused[job.id] = f"its state could not be written ({error}); it goes on from where it stood"
                await self._pause(REFUSED_SECONDS)
                return
            log.exception("job %d", job.id)
            if not self.table.get(job.id).ended:
                self.table.transition(job.id, "failed", f"the daemon could not run it: {type(error).__name__}: {error}")

    async def _supervise(self, job: Job) -> None:
        catalog = await self._catalog()
        if self.stop.is_set():
            return
        supervisor = Supervisor(
            self.home,
            self.table,
            job.id,
            worker=self.worker,
            grace=self.config.stop_grace_seconds,
            stop=self.stop,
            on_update=_log_state(),
            limits=self.config.worker,
        )
        await supervisor.run(catalog)

    async def _recover(self) -> None:
        """No worker is left from before, and no job says that it runs and does not."""
        for job in self.table.list(*RUNNING, "queued"):
            self._alive(self._run_queued, waits=self.config.watch.rescan_seconds)
            if job.id in self.running:
                continue
            if job.owner != "daemon":
                if not job.owner_lives:
                    self.table.transition(job.id, "failed", f"the process that ran it ({job.owner}) is gone")
                continue
            if job.state == "queued":
                continue
            if (worker := job.worker_process) is not None and worker.is_alive():
                log.warning("job %d: ending worker %d of a daemon that is gone", job.id, worker.pid)
                await end(worker, self.config.stop_grace_seconds)
            why = self._refused.pop(job.id, "the daemon ended while it ran; it goes on from where it stood")
            back = self.table.put_back(job.id, why)
            log.info("job %d %s: %s", back.id, back.state, back.reason)


def refused(error: Exception) -> bool:
    """Whether it is only that nothing can be written now: the disk is full, say."""
    if isinstance(error, JobTableError):
        return not isinstance(error, Unreadable)
    return isinstance(error, OSError) and error.errno in DISK_TROUBLE


def _log_state() -> Callable[[Job, Any], None]:
    """Log each change of state, once."""
    last: list[str] = []

    def log_state(job: Job, _: Any) -> None:
        if last[-1:] != [job.state]:
            last.append(job.state)
            log.info("job %d %s%s", job.id, job.state, f": {job.reason}" if job.reason else "")

    return log_state


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


async def _run(home: Home, config: Config, table: JobTable, worker: Sequence[str]) -> None:
    service = Service(home, config, table, worker, ServiceManager.take(os.environ))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, service.request_stop)
    await service.run()


def serve(home: Home, worker: Sequence[str] = WORKER, to_file: bool = False) -> None:
    """Run the daemon on `home` until SIGTERM, SIGINT or `POST /v1/stop`. Logs to stderr, or to the home's daemon.log.

    Raises AlreadyRunning (prefd.daemon.lock), ConfigError, JobTableError.
    """
    home.create()
    config = Config.load(home)
    with lock.held(home):
        start_logging(config.log, home.log if to_file else None)
        _serve(home, config, worker)


def _serve(home: Home, config: Config, worker: Sequence[str]) -> None:
    with open_table(home) as table:
        asyncio.run(_run(home, config, table, worker))
