"""PairScoring keeps the jobs whose pairs are to be scored, and has each scored when there is room beside the jobs that run.

Scoring loads a model as training does, so it takes one of the places that `parallel` gives. It takes minutes where a job takes
hours: the next place that becomes free is its own, before any job that is queued. No job that runs is stopped for it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from prefd.daemon.errors import PrefdError
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.job import Job
from prefd.daemon.jobs.states import FAILURES
from prefd.daemon.machine.device_trouble import has_device_trouble
from prefd.daemon.queue.conditions import Conditions
from prefd.daemon.queue.pair_worker import score_in_worker
from prefd.daemon.runs.pair_answers import PairsState
from prefd.daemon.runs.pair_files import PairFiles
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.timing import USUAL, Timing

log = logging.getLogger(__name__)

MOST_WAITING = 100
"""Jobs whose pairs wait to be scored."""
NOT_ITS_TURN = "the next place beside the jobs that run"


class NoTrainedPolicy(PrefdError):
    """The job has trained no policy to score its pairs with. The message says what it is instead."""

    http_status = 409


class TooManyScorings(PrefdError):
    """So many scorings of pairs wait already that no other is taken."""

    http_status = 429


def require_trained(job: Job, run: RunDir) -> None:
    """Raise `NoTrainedPolicy` for a job that is not done, or has left no adapter."""
    if job.state != "done":
        state = FAILURES.get(job.state, f"is {job.state}")
        raise NoTrainedPolicy(f"job {job.id} ({job.name}) {state}: its pairs can be scored when it is done")
    if not run.adapter.is_dir():
        raise NoTrainedPolicy(
            f"job {job.id} ({job.name}) has no adapter: it trained nothing, or {run.adapter} was removed"
        )


class PairScoring:
    """Has pairs scored, in the order in which that was asked for. `wake`: has the queue look whether there is room."""

    def __init__(
        self,
        home: Home,
        conditions: Conditions,
        worker: Sequence[str],
        wake: Callable[[], None],
        timing: Timing = USUAL,
    ) -> None:
        self.home = home
        self.conditions = conditions
        self.worker = worker
        self.wake = wake
        self.timing = timing
        self.waiting: dict[int, PairFiles] = {}
        self.running: dict[int, asyncio.Task[None]] = {}

    def request(self, job: Job) -> PairsState:
        """Have the pairs of a job scored; once, where that was asked for already. Raises `NoTrainedPolicy`, `TooManyScorings`, OSError."""
        files = PairFiles(RunDir(self.home.job(job.id), job.ulid))
        require_trained(job, files.run)
        if job.id not in self.waiting and job.id not in self.running:
            if len(self.waiting) >= MOST_WAITING:
                raise TooManyScorings(f"{MOST_WAITING} jobs' pairs wait to be scored already: ask again when some are")
            files.write_state("waiting", NOT_ITS_TURN)
            self.waiting[job.id] = files
            self.wake()
        return files.read_state(job.id)

    def take_turns(self, places: int, trouble: str | None) -> None:
        """Start as many as there are free `places`; none while there is `trouble`, which they are told to wait for."""
        for job_id, files in list(self.waiting.items()):
            if trouble is None and places > len(self.running):
                del self.waiting[job_id]
                task = self.running[job_id] = asyncio.create_task(self._score(job_id, files))
                task.add_done_callback(functools.partial(self._forget, job_id))
            elif (reason := trouble or NOT_ITS_TURN) != files.read_state(job_id).reason:
                with suppress(OSError):
                    files.write_state("waiting", reason)

    async def end(self, job_id: int) -> None:
        """Have the pairs of a job scored no more: its folder is to be another run's, or to go."""
        if (files := self.waiting.pop(job_id, None)) is not None:
            files.forget_state()
        if (task := self.running.get(job_id)) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        """End all of them: the daemon stops."""
        for job_id in [*self.waiting, *self.running]:
            with suppress(OSError):
                await self.end(job_id)

    async def _score(self, job_id: int, files: PairFiles) -> None:
        about = {"job": job_id}
        log.info("job %d: scoring its pairs", job_id, extra=about)
        try:
            provision = await self.conditions.losses.provide()
            limits = self.conditions.settings.current.worker
            for wait in (*self.timing.crash_waits, None):
                reason = await score_in_worker(
                    self.home, job_id, files, provision.settings, limits, self.worker, self.timing
                )
                if reason is None or wait is None or not has_device_trouble(reason):
                    break
                log.warning("job %d: %s; its pairs are scored again in %g s", job_id, reason, wait, extra=about)
                files.write_state("waiting", f"{reason}; tried again in {wait:g} s")
                try:
                    await asyncio.sleep(wait)
                except asyncio.CancelledError:
                    files.forget_state()
                    raise
        except (PrefdError, OSError) as error:
            reason = str(error)
            with suppress(OSError):
                files.write_state("failed", reason)
        if reason is None:
            log.info("job %d: its pairs are scored", job_id, extra=about)
        else:
            log.warning("job %d: its pairs were not scored: %s", job_id, reason, extra=about)

    def _forget(self, job_id: int, _: asyncio.Task[None]) -> None:
        self.running.pop(job_id, None)
        self.wake()
