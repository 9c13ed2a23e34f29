"""Service is the daemon: it watches the folder, claims specs, and runs jobs when it is their turn.

Its loops share one event loop and one job table: the watcher wakes the intake, and a claimed file wakes the runner. No
exception ends a loop: it is logged, and the loop goes on after a pause.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import psutil

from prefd.daemon.control import server
from prefd.daemon.control.answers import Acted
from prefd.daemon.control.status import ActiveJob, CatalogHealth, Queue, SettingsInForce, Status
from prefd.daemon.home import lock
from prefd.daemon.home.changed_settings import list_changed_settings
from prefd.daemon.home.layout import Home
from prefd.daemon.home.live_settings import LiveSettings
from prefd.daemon.home.settings import Config, LogConfig
from prefd.daemon.inbox.claims import Inbox
from prefd.daemon.inbox.folder_calls import FolderCalls
from prefd.daemon.inbox.intake import Intake
from prefd.daemon.jobs.actions import JOB_ACTIONS, JOBS_ACTIONS, QUEUE_ACTIONS
from prefd.daemon.jobs.edits import refuse_uneditable
from prefd.daemon.jobs.leftovers import set_aside
from prefd.daemon.jobs.rebuild import mend, open_table
from prefd.daemon.jobs.table import FEW_JOBS, Job, JobTable, Unreadable
from prefd.daemon.machine.interpreter import WORKER
from prefd.daemon.machine.open_files import raise_limit
from prefd.daemon.queue.conditions import Conditions
from prefd.daemon.queue.runner import Runner
from prefd.daemon.queue.stop_request import Stop
from prefd.daemon.runs.pair_answers import PairsState
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.snapshot import list_versions
from prefd.daemon.service.admission import Admission
from prefd.daemon.service.client_models import open_model
from prefd.daemon.service.home_watch import HomeWatch
from prefd.daemon.service.housekeeping import Housekeeping
from prefd.daemon.service.logs import start_logging
from prefd.daemon.service.machine_report import describe_worker, measure_power
from prefd.daemon.service.notify import Notifier
from prefd.daemon.service.server_child import CLIENTS, ServerChild
from prefd.daemon.service.server_child import PAGE as PAGE_SERVER
from prefd.daemon.service.side_tasks import SideTasks
from prefd.daemon.service.systemd import ServiceManager
from prefd.daemon.service.watchdog import Pulse, report_to_systemd
from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.specs.edited_spec import EditRequest, read_base, read_edited_spec
from prefd.daemon.specs.live_spec import LiveModel
from prefd.daemon.text.parsed import MAX_BYTES
from prefd.daemon.text.time_zone import explain_unknown_zone
from prefd.daemon.timing import USUAL, Timing

log = logging.getLogger(__name__)

MAX_LIST_BYTES = 4 * 2**20
"""A list of some hundred thousand jobs."""
FOLDER = "the loop that claims from jobs/"
QUEUE = "the loop that runs the queue"
CONTROL = "the control socket"
WATCHER = "the watcher of jobs/"
SYSTEMD = "what systemd is told"
NOTIFIER = "the notifier"
HOME = "the watch on the home"
HOUSEKEEPING = "the housekeeping"
PAGE = "the page"
SERVE = "the clients' server"
SETTINGS = "the watch on config.toml"
RELOAD = "the reload of config.toml"


class Service:
    """Service is one daemon. The caller holds the home's lock."""

    def __init__(
        self,
        home: Home,
        config: Config,
        table: JobTable,
        worker: Sequence[str] = WORKER,
        manager: ServiceManager | None = None,
        timing: Timing = USUAL,
        settings: LiveSettings | None = None,
        restart_log: Callable[[LogConfig], None] = lambda config: None,
        page_address: tuple[str, int] | None = None,
    ) -> None:
        self.home = home
        self.max_spec_bytes = MAX_BYTES
        self.settings = settings or LiveSettings(home, config)
        self.restart_log = restart_log
        self.versions = list_versions()
        self.max_list_bytes = MAX_LIST_BYTES
        self.table = table
        self.timing = timing
        self.stop = Stop()
        self.pulse = Pulse()
        self.manager = manager or ServiceManager()
        self.cancelled = threading.Event()
        """Set when the stop is requested: no child that lists plugins holds it up."""
        self.conditions = Conditions(home, self.settings, worker, self.cancelled, timing)
        self.losses = self.conditions.losses
        beat = functools.partial(self._beat, QUEUE)
        self.runner = Runner(home, self.conditions, table, self.stop, worker, beat, timing)
        inbox = Inbox(home, config.watch.settle_seconds, timing)
        calls = FolderCalls(home.jobs, self.stop, functools.partial(self._beat, FOLDER), timing)
        self.admission = Admission(home, table, self.losses, inbox, calls, self.runner.queued)
        self.intake = Intake(home, config.watch, inbox, calls, self.admission, timing)
        self.side = SideTasks()
        self.housekeeping = Housekeeping(home, table)
        self.page = ServerChild(home, PAGE_SERVER, page_address, timing)
        self.clients = ServerChild(home, CLIENTS, timing=timing)
        self.runner.ended = self.housekeeping.wake
        self.started_at = time.time()
        self.started = time.monotonic()
        self.socket = str(home.socket)
        self.home_watch = HomeWatch(home, self.request_stop, timing)

    async def run(self) -> None:
        """Serve until a stop is requested and every running job has been put back."""
        with server.listening(self.home) as listener, self.stop.listening(self.cancelled):
            self.socket = str(listener.getsockname())
            lock.announce(self.home, self.socket)
            self.side.start(CONTROL, server.serve_control(self, listener, self.timing))
            self.side.start(WATCHER, self.intake.watcher.run())
            self.side.start(
                SYSTEMD, report_to_systemd(self.manager, self.pulse, self.socket, self._summarize, self.timing)
            )
            self.side.start(HOUSEKEEPING, self.housekeeping.run())
            self.side.start(HOME, self.home_watch.run())
            self.side.start(NOTIFIER, Notifier(self.home, self.config.notify, self.table, self.timing).run())
            self.side.start(SETTINGS, self._watch_settings())
            self.side.start(PAGE, self.page.run(self.config.web))
            self.side.start(SERVE, self.clients.run(self.config.serve))
            log.info("serving %s", self.home.root)
            try:
                await asyncio.gather(self._repeat(FOLDER, self._take_in_specs), self._repeat(QUEUE, self.runner.run))
                await self.runner.wait()
            finally:
                lock.withdraw(self.home, self.home_watch.lock_file)
                await self.side.end_all()
        log.info("stopped")

    @property
    def config(self) -> Config:
        """Return the settings that are in force."""
        return self.settings.current

    # --- the settings

    async def _watch_settings(self) -> None:
        """Take up config.toml whenever it has changed."""
        while True:
            await asyncio.sleep(self.timing.settings_look)
            await self.reload_settings(at_once=False)

    def request_reload(self) -> None:
        """Have config.toml read again now."""
        self.side.start(RELOAD, self.reload_settings())

    async def reload_settings(self, at_once: bool = True) -> None:
        """Read config.toml again, and go on with what it says; with what it said before where it cannot be read."""
        before = self.config
        if not self.settings.look(at_once):
            return
        now = self.config
        if now.log != before.log:
            self.restart_log(now.log)
        if now.watch != before.watch:
            self.intake.take_up(now.watch)
        if now.watch.polling != before.watch.polling:
            await self.side.restart(WATCHER, self.intake.watcher.run())
        if now.notify != before.notify:
            await self.side.restart(NOTIFIER, Notifier(self.home, now.notify, self.table, self.timing).run())
        if now.web != before.web:
            await self.side.restart(PAGE, self.page.run(now.web))
        if now.serve != before.serve:
            await self.side.restart(SERVE, self.clients.run(now.serve))
        self.intake.changed.set()
        self.runner.queued.set()

    # --- what the control API asks

    def status(self) -> Status:
        """Describe what the daemon does now."""
        running = map(self.table.get, sorted(self.runner.running))
        catalog = self.losses.latest
        process = psutil.Process()
        return Status(
            pid=process.pid,
            version=self.versions.get("prefd", "unknown"),
            started_at=self.started_at,
            uptime_s=time.monotonic() - self.started,
            home=str(self.home.root),
            home_id=self.table.home_id(),
            home_folder=self.home_watch.folder.id,
            notes=self.table.notes,
            socket=self.socket,
            stopping=self.stop.is_set(),
            active=[ActiveJob.from_job(job, RunDir(self.home.job(job.id)).progress()) for job in running],
            jobs=self.table.counts(),
            queue=Queue(paused_at=self.table.queue_paused_at(), waits_for=self.runner.holds.reason),
            watcher=self.intake.health,
            catalog=CatalogHealth(
                error=self.losses.error,
                losses=len(catalog.losses) if catalog else 0,
                failed_plugins=catalog.failures if catalog else {},
            ),
            worker=describe_worker(self.config.worker),
            settings=SettingsInForce(
                values=self.config.model_dump(),
                read_at=self.settings.read_at,
                error=self.settings.error,
                changed=list_changed_settings(self.config.model_dump()),
            ),
            versions=self.versions,
            memory_rss_bytes=process.memory_info().rss,
            power=measure_power(self.config.worker.prevent_sleep),
            page=self.page.describe(),
            clients=self.clients.describe(),
        )

    def request_stop(self) -> None:
        """Ask the daemon to stop; a second time, without waiting for its workers."""
        log.info("stopping" if not self.stop.is_set() else "stopping without waiting")
        patience = self.config.stop_grace_seconds + self.timing.stop_margin
        self.manager.tell(STOPPING=1, EXTEND_TIMEOUT_USEC=int(patience * 1e6))
        self.stop.request()

    def act(self, action: str, job_id: int) -> Job:
        """Do one of JOB_ACTIONS to a job, and return the job. Raises JobNotFound, IllegalTransition, JobTableError."""
        job = JOB_ACTIONS[action](self.table, job_id)
        self.runner.queued.set()
        return job

    async def act_on_jobs(self, action: str, job_ids: Sequence[int]) -> None:
        """Do one of JOBS_ACTIONS to all of these jobs, or to none. Raises as `act`, and NotRemovable."""
        if action == "remove":
            for job_id in job_ids:
                await self.runner.pairs.end(job_id)
                await self.runner.reporting.stop(job_id)
        JOBS_ACTIONS[action](self.table, job_ids)
        self.runner.queued.set()
        if action == "remove":
            self.housekeeping.wake()
            if len(job_ids) <= FEW_JOBS:
                await self.housekeeping.wait_for_deletion(self.timing.removal_wait)

    def score_pairs(self, job_id: int) -> PairsState:
        """Have the pairs of a finished job scored. Raises JobNotFound, NoTrainedPolicy, TooManyScorings, OSError."""
        return self.runner.pairs.request(self.table.get(job_id))

    async def discard(self, part: str, job_ids: Sequence[int]) -> None:
        """Delete a part of the folders of ended jobs. Raises JobNotFound, NotRemovable, JobTableError, OSError."""
        self.table.discard(self.home.runs, job_ids, part, functools.partial(set_aside, self.home))
        self.housekeeping.wake()
        await self.housekeeping.wait_for_deletion(self.timing.removal_wait)

    async def edit(self, job_id: int, request: EditRequest) -> Job:
        """Change what a job that waits is. Raises JobNotFound, NotEditable, SpecError, CatalogError, JobTableError, OSError."""
        refuse_uneditable(self.table.get(job_id))
        catalog = await self.losses.now() if request.spec is not None else None
        current = self.table.spec(job_id)
        spec = read_edited_spec(current, request, catalog, self.home.jobs)
        job = self.table.edit(job_id, spec, read_base(request, current))
        self._take_up_edits([job])
        return job

    def edit_settings(self, job_ids: Sequence[int], settings: Mapping[str, Any]) -> list[Job]:
        """Change the same settings of jobs that wait, of all or of none. Raises as `edit`."""
        jobs = self.table.edit_settings(job_ids, settings)
        self._take_up_edits(jobs)
        return jobs

    def _take_up_edits(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self.runner.forget_reference(job.id)
            log.info("job %d %s", job.id, job.reason, extra={"job": job.id})
        self.runner.queued.set()

    def act_on_queue(self, action: str) -> Acted:
        """Do one of QUEUE_ACTIONS, and return the queue and the jobs it acted on. Raises JobTableError."""
        jobs = QUEUE_ACTIONS[action](self.table)
        self.runner.queued.set()
        return Acted(queue=Queue(paused_at=self.table.queue_paused_at()), jobs=jobs)

    async def catalog(self) -> Catalog:
        """Return the losses and plugins as they are now. Raises CatalogError."""
        return await self.losses.now()

    def open_live(self, model: LiveModel) -> Job:
        """Queue a model that a client holds, or return the job that it is already. Raises ForeignFolder, JobTableError, OSError."""
        job = open_model(self.home, self.table, model)
        self.runner.queued.set()
        return job

    async def submit(self, data: bytes, name: str) -> list[Job]:
        """Make jobs of a posted spec file, as `Admission.submit` does."""
        return await self.admission.submit(data, name)

    def _summarize(self) -> str:
        """Describe what the daemon does in one line, for `systemctl status`."""
        counts = [f"{count} {state}" for state, count in self.table.counts().items() if count]
        paused = ["the queue is paused"] if self.table.queue_paused_at() is not None else []
        return "; ".join([*(["stopping"] if self.stop.is_set() else []), *paused, ", ".join(counts) or "no jobs yet"])

    # --- the loops

    async def _repeat(self, loop: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` again and again until the stop is requested, even if it raises."""
        while not self.stop.is_set():
            try:
                await self._work_or_mend(work)
            except Exception:
                if self.home_watch.note_loss():  # whatever failed did so for that
                    break
                log.exception("this should not happen; going on")
                await self.stop.rest(self.timing.failed_loop_pause)
        self.pulse.end(loop)

    async def _work_or_mend(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Unreadable as error:
            if self.home_watch.note_loss():
                return
            log.error("%s", error)
            mend(self.home, self.table, error.why)

    def _beat(self, loop: str, wait_seconds: float) -> None:
        """Note that `loop` is alive, and about to do a step and then to wait for so many seconds."""
        self.pulse.beat(loop, wait_seconds + self.config.stop_grace_seconds + self.timing.loop_step)

    async def _take_in_specs(self) -> None:
        """Claim and admit files for as long as the daemon runs."""
        self._beat(FOLDER, 0)
        await self.losses.list_ahead()  # so that the first drop need not wait for it
        await self.intake.run()


async def _run(service: Service) -> bool:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, service.request_stop)
    on_hangup = service.request_stop if os.isatty(2) else service.request_reload  # a terminal was closed
    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    await service.run()
    return service.home_watch.lost is None


def serve(
    home: Home,
    worker: Sequence[str] = WORKER,
    to_file: bool = False,
    timing: Timing = USUAL,
    page_address: tuple[str, int] | None = None,
) -> bool:
    """Run the daemon on `home` until SIGTERM, SIGINT or `POST /v1/stop`. Logs to stderr, or to the home's daemon.log.

    Where there is a `page_address`, the page is served there, whatever the settings say.

    Returns False where it ended because the home went away, or was replaced.

    Raises AlreadyRunning (prefd.daemon.home.lock), ConfigError, JobTableError.
    """
    raise_limit()
    home.create()
    settings = LiveSettings.load(home)
    with lock.hold_lock(home):
        restart_log = functools.partial(start_logging, file=home.log if to_file else None)
        restart_log(settings.current.log)
        if unknown := explain_unknown_zone():
            log.warning("%s", unknown)
        with open_table(home) as table:
            manager = ServiceManager.take(os.environ)
            service = Service(
                home,
                settings.current,
                table,
                worker,
                manager,
                timing,
                settings=settings,
                restart_log=restart_log,
                page_address=page_address,
            )
            return asyncio.run(_run(service))
