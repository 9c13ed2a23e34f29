"""The loop that runs the queued jobs: each when it is its turn, and put back when it says that it runs and does not."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config
from prefd.daemon.jobs.states import RUNNING
from prefd.daemon.jobs.table import Job, JobTable, JobTableError, Unreadable
from prefd.daemon.machine.files import DISK_TROUBLE
from prefd.daemon.machine.processes import end
from prefd.daemon.queue.stop_request import Stop
from prefd.daemon.queue.supervisor import Supervisor
from prefd.daemon.queue.turns import Limits, take_turns
from prefd.daemon.specs.catalog import CatalogError
from prefd.daemon.specs.catalog_listing import Losses
from prefd.daemon.specs.job_spec import Reference
from prefd.daemon.timing import USUAL, Timing

log = logging.getLogger(__name__)

REST = 4.0
"""Times as long as it takes to look through the queue, nobody looks again: a burst of files is not slowed by each of them."""


class Runner:
    """Of one home. `alive`: told before each wait of how many seconds."""

    def __init__(
        self,
        home: Home,
        config: Config,
        table: JobTable,
        losses: Losses,
        stop: Stop,
        worker: Sequence[str],
        alive: Callable[[float], None] = lambda seconds: None,
        timing: Timing = USUAL,
    ) -> None:
        self.home = home
        self.config = config
        self.table = table
        self.losses = losses
        self.stop = stop
        self.worker = worker
        self.alive = alive
        self.timing = timing
        self.limits = Limits(config.parallel, config.groups)
        self.queued = asyncio.Event()
        """Set when there is something new to decide on."""
        self.running: dict[int, asyncio.Task[None]] = {}
        self._refused: dict[int, str] = {}
        self._references: dict[int, Reference | None] = {}

    async def run(self) -> None:
        """Start jobs until the stop. Those that run are then still to be waited for."""
        longest = self.config.watch.rescan_seconds
        with self.stop.listening(self.queued):
            while not self.stop.is_set():
                self.alive(longest)
                self.queued.clear()
                began = time.monotonic()
                self.table.check_there()
                self.table.write_missing_records()
                jobs = await self._recover()
                self._pass_on_requests(jobs)
                for job in self._take_turns(jobs):
                    task = self.running[job.id] = asyncio.create_task(self._run(job))
                    task.add_done_callback(functools.partial(self._ended, job.id))
                # an orphan's end may have taken a minute: nobody rests that long
                await self.stop.rest(min(REST * (time.monotonic() - began), longest))
                with suppress(TimeoutError):
                    async with asyncio.timeout(longest):
                        await self.queued.wait()

    async def wait(self) -> None:
        """Until every job that runs has been put back, or has ended."""
        await asyncio.gather(*self.running.values(), return_exceptions=True)

    async def _recover(self) -> list[Job]:
        """The jobs that wait or run, once no worker is left from before and no job says that it runs and does not."""
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
            if (worker := job.worker_process) is not None and worker.is_alive():
                about = {"job": job.id}
                log.warning("job %d: ending worker %d of a daemon that is gone", job.id, worker.pid, extra=about)
                await end(worker, self.config.stop_grace_seconds)
            why = self._refused.pop(job.id, "the daemon ended while it ran; it goes on from where it stood")
            back = self.table.put_back(job.id, why)
            log.info("job %d %s: %s", back.id, back.state, back.reason, extra={"job": back.id})
            recovered = True
        return self.table.list(*RUNNING, "queued") if recovered else jobs

    def _pass_on_requests(self, jobs: Sequence[Job]) -> None:
        """Tell those who run a job that is to stop: a command that met no daemon wrote that into the database itself.

        `jobs`: those that wait or run.
        """
        undisturbed = {job.id for job in jobs if not (job.cancel_requested or job.pausing)}
        for job_id in self.running.keys() - undisturbed:
            self.table.tell(job_id)

    def _take_turns(self, jobs: Sequence[Job]) -> list[Job]:
        """Those of `jobs` to start now; it is written down why the others wait, or will never start."""
        own = [job for job in jobs if job.owner == "daemon"]
        queued = [job for job in own if job.state == "queued" and job.id not in self.running]
        turns = take_turns(
            queued,
            [job for job in own if job.id in self.running],
            self.table.states({each for job in queued for each in job.after}),
            self.limits,
            time.time(),
            paused=self.table.queue_paused_at() is not None,
            scores_with=self._scores_with,
        )
        for job_id, reason in turns.failed.items():
            self.table.transition(job_id, "failed", reason)
            log.info("job %d failed: %s", job_id, reason, extra={"job": job_id})
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
        if spec.training is not None and (catalog := self.losses.latest) is not None:
            known = spec.loss_names <= catalog.losses.keys()
            if known and not catalog.need_reference(spec.loss_names):
                return None
        return spec.scored_by

    def _ended(self, job_id: int, task: asyncio.Task[None]) -> None:
        del self.running[job_id]
        self._references.pop(job_id, None)
        self.queued.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            message = "job %d: its state could not be written; it is put back"
            log.error(message, job_id, exc_info=error, extra={"job": job_id})

    async def _run(self, job: Job) -> None:
        """Whatever happens here is this job's failure, not the next one's."""
        try:
            await self._supervise(job)
        except CatalogError as error:
            self.table.transition(job.id, "failed", f"the losses cannot be listed: {error}")
        except Exception as error:
            if refused(error):
                about = {"job": job.id}
                log.error("job %d waits, for its state cannot be written: %s", job.id, error, extra=about)
                self._refused[job.id] = f"its state could not be written ({error}); it goes on from where it stood"
                await self.stop.rest(self.timing.refused_state_wait)
                return
            log.exception("job %d", job.id, extra={"job": job.id})
            if not self.table.get(job.id).ended:
                self.table.transition(job.id, "failed", f"the daemon could not run it: {type(error).__name__}: {error}")

    async def _supervise(self, job: Job) -> None:
        catalog = await self.losses.now()
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
            timing=self.timing,
        )
        await supervisor.run(catalog)


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
            reason = f": {job.reason}" if job.reason else ""
            log.info("job %d %s%s", job.id, job.state, reason, extra={"job": job.id})

    return log_state
