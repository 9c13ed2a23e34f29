"""Runner starts queued jobs in the order that `take_turns` decides, and re-queues running jobs that have lost their worker."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from prefd.daemon.home.identity import HomeFolder
from prefd.daemon.home.layout import Home, HomeUnusable
from prefd.daemon.home.settings import Config
from prefd.daemon.jobs.states import RUNNING
from prefd.daemon.jobs.table import QUEUE_PAUSED, Job, JobTable, JobTableError, Unreadable
from prefd.daemon.machine.files import DISK_TROUBLE
from prefd.daemon.machine.processes import end_process
from prefd.daemon.queue.conditions import Conditions
from prefd.daemon.queue.holds import Holds
from prefd.daemon.queue.interruption import judge_interruption
from prefd.daemon.queue.pair_scoring import PairScoring
from prefd.daemon.queue.phase_end import PhaseEnd
from prefd.daemon.queue.reporting import Reporting
from prefd.daemon.queue.stop_request import Stop
from prefd.daemon.queue.supervisor import PluginMissing, Supervisor
from prefd.daemon.queue.turns import Limits, take_turns
from prefd.daemon.runs.run_folder import Progress
from prefd.daemon.specs.catalog import CatalogError
from prefd.daemon.specs.job_spec import Reference
from prefd.daemon.timing import USUAL, Timing
from prefd.plugins.errors import describe_exception

log = logging.getLogger(__name__)

REST = 4.0
"""How many times as long as a look through the queue to wait before the next: a burst of files is not slowed by each."""


class Runner:
    """Runs the queue of one home. `alive`: called before each wait with its seconds."""

    def __init__(
        self,
        home: Home,
        conditions: Conditions,
        table: JobTable,
        stop: Stop,
        worker: Sequence[str],
        alive: Callable[[float], None] = lambda seconds: None,
        timing: Timing = USUAL,
    ) -> None:
        self.home = home
        self.conditions = conditions
        self.losses = conditions.losses
        self.table = table
        self.stop = stop
        self.worker = worker
        self.alive = alive
        self.timing = timing
        self.folder = HomeFolder.find(home.root)
        self.queued = asyncio.Event()
        """Set when a job may have been added or moved."""
        self.holds = Holds(conditions, table, self.queued, timing)
        self.pairs = PairScoring(home, conditions, worker, self.queued.set, timing)
        self.reporting = Reporting(home, lambda: self.config, worker, timing)
        self.ended: Callable[[], None] = lambda: None
        """Called when a job has been put back or has ended."""
        self.running: dict[int, asyncio.Task[None]] = {}
        self._refusals: dict[int, str] = {}
        self._references: dict[int, Reference | None] = {}

    @property
    def config(self) -> Config:
        """Return the settings that are in force."""
        return self.conditions.settings.current

    @property
    def limits(self) -> Limits:
        """Say how many jobs run at a time, beside the scorings of pairs."""
        return Limits(self.config.parallel - len(self.pairs.running), self.config.groups)

    async def run(self) -> None:
        """Start jobs until the stop is requested. Those that run are then still to be waited for, with `wait`."""
        with self.stop.listening(self.queued):
            while not self.stop.is_set():
                longest = self.config.watch.rescan_seconds
                self.alive(longest)
                self.queued.clear()
                began = time.monotonic()
                self.table.check_same_file()
                if self.table.write_missing_records():
                    self.queued.set()  # there are more, and the loop has other work meanwhile
                jobs = await self._recover()
                self._pass_on_requests(jobs)
                self.holds.renew(jobs)
                self._score_pairs()
                for job in self._take_turns(jobs):
                    task = self.running[job.id] = asyncio.create_task(self._run(job))
                    task.add_done_callback(functools.partial(self._forget_task, job.id))
                # an orphan's end may have taken a minute: nobody rests that long
                await self.stop.rest(min(REST * (time.monotonic() - began), longest))
                with suppress(TimeoutError):
                    async with asyncio.timeout(longest):
                        await self.queued.wait()

    async def wait(self) -> None:
        """Wait until every running job has been put back, or has ended. Pairs are scored no more, and no job is reported."""
        await self.pairs.close()
        await asyncio.gather(*self.running.values(), return_exceptions=True)
        await self.reporting.close()

    async def _recover(self) -> list[Job]:
        """Put back the jobs that the table calls running and that this process does not run, and end their old workers.

        Returns the jobs that wait or run afterwards.
        """
        jobs = self.table.list(*RUNNING, "queued")
        recovered = False
        for job in jobs:
            if job.id in self.running or (job.owner == "daemon" and job.state == "queued"):
                continue
            if job.owner != "daemon":
                if not job.owner_lives:
                    self.table.transition(job.id, "failed", f"the process that ran it ({job.owner}) is gone")
                continue
            self.alive(self.config.watch.rescan_seconds)
            if (worker := job.worker_process) is not None and worker.works_in(self.home.job(job.id)):
                about = {"job": job.id}
                log.warning("job %d: ending worker %d of a daemon that is gone", job.id, worker.pid, extra=about)
                await end_process(worker, self.config.stop_grace_seconds)
            state, reason = judge_interruption(self.table, job)
            back = self.table.put_back(job.id, self._refusals.pop(job.id, reason), otherwise=state)
            log.info("job %d %s: %s", back.id, back.state, back.reason, extra={"job": back.id})
            recovered = True
        return self.table.list(*RUNNING, "queued") if recovered else jobs

    def _pass_on_requests(self, jobs: Sequence[Job]) -> None:
        """Wake the supervisors of jobs that are to stop: a command without the daemon wrote that into the database itself.

        `jobs`: those that wait or run.
        """
        undisturbed = {job.id for job in jobs if not (job.cancel_requested or job.pausing)}
        for job_id in self.running.keys() - undisturbed:
            self.table.tell(job_id)

    def _score_pairs(self) -> None:
        """Have the pairs of finished jobs scored that were asked for, where there is room beside the jobs that run."""
        paused = QUEUE_PAUSED if self.table.queue_paused_at() is not None else None
        self.pairs.take_turns(self.config.parallel - len(self.running), paused or self.holds.trouble)

    def _take_turns(self, jobs: Sequence[Job]) -> list[Job]:
        """Return those of `jobs` to start now, and write down why the others wait, or will never start."""
        own = [job for job in jobs if job.owner == "daemon"]
        queued = [job for job in own if job.state == "queued" and job.id not in self.running]
        turns = take_turns(
            queued,
            [job for job in own if job.id in self.running],
            self.table.states({each for job in queued for each in job.after}),
            self.limits,
            time.time(),
            paused=self.table.queue_paused_at() is not None,
            trouble=self.holds.trouble,
            held=self.holds.find,
            scores_with=self._scores_with,
        )
        for job_id, reason in turns.failed.items():
            self.table.transition(job_id, "failed", reason)
            log.info("job %d failed: %s", job_id, reason, extra={"job": job_id})
            self.queued.set()  # for those that were to run after this one
        self.table.set_waiting_reasons(turns.waiting)
        return turns.start

    def _scores_with(self, job: Job) -> Reference | None:
        """Return the reference whose entries a job may miss; None where it scores nothing, or jobs run one at a time.

        Which entries they are is not known without a tokenizer. So two jobs of one reference and different pairs wait for
        each other too: that costs little, since both would load the same model for it.
        """
        if self.config.parallel == 1:
            return None
        if job.id not in self._references:
            self._references[job.id] = self._find_reference(job.id)
        return self._references[job.id]

    def _find_reference(self, job_id: int) -> Reference | None:
        """Return the reference that the job's spec scores with; None where it needs none, or the spec cannot be read."""
        spec = self.table.find_spec(job_id)
        if spec is None:  # its supervisor says what is wrong with it
            return None
        if spec.live is not None or spec.has_live_reference:  # it scores as it goes, beside any other that scores
            return None
        if spec.training is not None and (catalog := self.losses.latest) is not None:
            are_listed = spec.loss_names <= catalog.losses.keys()
            if are_listed and not catalog.need_reference(spec.loss_names):
                return None
        return spec.scored_by

    def forget_reference(self, job_id: int) -> None:
        """Have the job's spec read again, which may have been edited."""
        self._references.pop(job_id, None)
        self.holds.forget(job_id)

    def _forget_task(self, job_id: int, task: asyncio.Task[None]) -> None:
        del self.running[job_id]
        self.forget_reference(job_id)
        self.queued.set()
        self.ended()
        if not task.cancelled() and (error := task.exception()) is not None:
            message = "job %d: its state could not be written; it is put back"
            log.error(message, job_id, exc_info=error, extra={"job": job_id})

    async def _run(self, job: Job) -> None:
        """Whatever happens here is this job's failure, not the next one's."""
        try:
            await self._supervise(job)
        except PluginMissing as error:
            self.holds.note_missing_plugin(job.id, error)
        except CatalogError as error:
            if self.holds.trouble is None:  # the daemon stops, or it is over already
                log.info("job %d waits: %s", job.id, error, extra={"job": job.id})
                await self.stop.rest(self.timing.refused_state_wait)
        except Exception as error:
            if is_refused_write(error) or self.folder.describe_loss() is not None:
                about = {"job": job.id}
                log.error("job %d waits, for its state cannot be written: %s", job.id, error, extra=about)
                self._refusals[job.id] = f"its state could not be written ({error}); it goes on from where it stood"
                await self.stop.rest(self.timing.refused_state_wait)
                return
            log.exception("job %d", job.id, extra={"job": job.id})
            if not self.table.get(job.id).ended:
                self.table.transition(job.id, "failed", f"the daemon could not run it: {describe_exception(error)}")

    async def _supervise(self, job: Job) -> None:
        """Run one job in a supervisor, unless the stop is requested first. Raises CatalogError."""
        if self.stop.is_set():
            return
        await self.pairs.end(job.id)
        if job.fresh:
            await self.reporting.stop(job.id)
        outages: list[PhaseEnd] = []
        device_troubles: list[str] = []
        supervisor = Supervisor(
            self.home,
            self.table,
            job.id,
            worker=self.worker,
            grace=self.config.stop_grace_seconds,
            stop=self.stop,
            on_update=self._note_update(),
            limits=self.config.worker,
            explain_crash=self.conditions.explain_crash,
            on_outage=outages.append,
            on_device_trouble=device_troubles.append,
            tries_device=lambda: self.holds.tries_device(job.id),
            folder=self.folder,
            on_training=self.reporting.begin,
            timing=self.timing,
        )
        try:
            await supervisor.run(self.losses.provide)
        finally:
            self.reporting.end(self.table.get(job.id))
        if outages:
            self.holds.note_outage(job.id, outages[-1].reason, is_hubs=outages[-1].kind == "no network")
        else:
            self.holds.note_reached(job.id)
        if device_troubles:
            self.holds.note_device_trouble(job.id, device_troubles[-1])
        elif self.table.get(job.id).ended:
            self.holds.note_pass(job.id)

    def _note_update(self) -> Callable[[Job, Progress | None], None]:
        """Make a callback that logs each change of state, once, and notes that a job has all that it needs from the hub."""
        log_state = _log_state()

        def note(job: Job, progress: Progress | None) -> None:
            log_state(job, progress)
            if progress is not None:
                self.holds.note_reached(job.id)
                if progress.rate is not None:  # more is done than when its worker began
                    self.holds.note_pass(job.id)

        return note


def is_refused_write(error: Exception) -> bool:
    """Return whether the error only means that nothing can be written now: the disk is full, say."""
    if isinstance(error, JobTableError):
        return not isinstance(error, Unreadable)
    if isinstance(error, HomeUnusable):  # runs/ is on a drive that is not mounted
        return True
    return isinstance(error, OSError) and error.errno in DISK_TROUBLE


def _log_state() -> Callable[[Job, Any], None]:
    """Make a callback that logs each change of state, once."""
    last: list[str] = []

    def log_state(job: Job, _: Any) -> None:
        if last[-1:] != [job.state]:
            last.append(job.state)
            reason = f": {job.reason}" if job.reason else ""
            log.info("job %d %s%s", job.id, job.state, reason, extra={"job": job.id})

    return log_state
