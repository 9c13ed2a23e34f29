"""One job from queued to ended, its phases in worker processes.

A worker is told to stop by SIGTERM and has `grace` seconds to save its state; then it is killed, which by design
loses at most what it had not committed. The job's folder says how a phase went; when it does not, the way the process
ended and its log do.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prefd.daemon.errors import WorkerExit
from prefd.daemon.home.layout import Home
from prefd.daemon.home.worker_limits import WorkerLimits
from prefd.daemon.jobs.states import ENDED, STATE_OF, State
from prefd.daemon.jobs.table import RESUMED, Job, JobTable
from prefd.daemon.machine.files import DISK_TROUBLE
from prefd.daemon.machine.memory import kills
from prefd.daemon.machine.processes import SAME_HASHES, WORKER, ProcessId, signal_group
from prefd.daemon.machine.threads import in_thread
from prefd.daemon.queue.memory_watch import MemoryWatch
from prefd.daemon.queue.requests import JobRequests
from prefd.daemon.queue.stop_request import Stop
from prefd.daemon.queue.worker_process import lock_worker, why_it_ended
from prefd.daemon.runs.phase_outcomes import Outcome
from prefd.daemon.runs.phases import Phase
from prefd.daemon.runs.run_folder import Progress, RunDir
from prefd.daemon.runs.snapshot import freeze
from prefd.daemon.runs.worker_log import bound_log, tail
from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.memory_advice import remedy
from prefd.daemon.specs.reading import SpecError, check_loss
from prefd.daemon.timing import USUAL, Timing

STOPPED_OUTSIDE = "its worker was stopped from outside; it goes on from where it stood"
STOPS_OUTSIDE = 3
"""How often a job may be stopped by neither the daemon nor a user before it counts as failed."""

CRASHES = 3
"""How often a worker may die without a word, and without having got any further, before its job counts as failed."""
Watch = Callable[[Job, Progress | None], None]
"""Called when the job's state or its progress has changed."""


How = Literal["ok", "failed", "stopped", "crashed", "no room"]


@dataclass(frozen=True)
class PhaseEnd:
    how: How
    reason: str
    seconds: float = 0.0


def phases(spec: JobSpec, catalog: Catalog) -> list[Phase]:
    """What the job goes through. A loss without a reference has nothing to precompute. Raises SpecError."""
    check_loss(spec, catalog)
    if spec.training is None:
        return ["precompute"]
    return ["precompute", "training"] if catalog.need_reference(spec.loss_names) else ["training"]


def own_environment() -> dict[str, str]:
    return {"PYTHONUNBUFFERED": "1", "PREFD_PARENT": str(os.getpid()), **SAME_HASHES}


def still_works(run: RunDir) -> str:
    return f"another worker still works in {run.root}; end it, then `prefd retry {run.root.name}`"


class Supervisor:
    """Runs one queued job of `table`."""

    def __init__(
        self,
        home: Home,
        table: JobTable,
        job_id: int,
        *,
        worker: Sequence[str] = WORKER,
        grace: float = 60.0,
        stop: Stop | None = None,
        when_stopped: State = "queued",
        on_update: Watch | None = None,
        limits: WorkerLimits | None = None,
        timing: Timing = USUAL,
    ) -> None:
        self.home = home
        self.table = table
        self.job_id = job_id
        self.worker = worker
        self.grace = grace
        self.stop = stop or Stop()
        self.requests = JobRequests(table, job_id, self.stop)
        self.when_stopped = when_stopped
        self.on_update = on_update
        self.limits = limits or WorkerLimits()
        self.timing = timing
        self._try_again_in: float | None = None
        self._shown: tuple[State, Progress | None] | None = None

    async def run(self, catalog: Catalog) -> Job:
        """Take the job as far as it goes: to its end, or to a pause, or back to the queue when `stop` is requested."""
        with self.requests.listening():
            while True:
                self._try_again_in = None
                job = await self._run_phases(catalog)
                if self._try_again_in is None:
                    return job
                await self._rest(self._try_again_in)
                job = self.requests.job
                if self.stop.is_set():
                    waits = job.state == "queued" and self.when_stopped != "queued"
                    return self._move(self.when_stopped, self._why_stopped()) if waits else job

    async def _run_phases(self, catalog: Catalog) -> Job:
        job = self.requests.job
        if job.state != "queued":  # paused or cancelled since it was chosen
            return job
        spec = self.table.spec(self.job_id)
        try:
            planned = phases(spec, catalog)
        except SpecError as error:
            return self._move("failed", str(error))
        run = await in_thread(freeze, self.home, self.job_id, spec)
        if job.fresh:
            if (held := await self._begin_afresh(job, run)) is not None:
                return held
            await in_thread(freeze, self.home, self.job_id, spec, anew=True)
        reason, took = "", dict[str, float]()
        for phase in planned:
            run.forget_outcome(phase)  # before anyone can take it for the end of the phase that begins
            self._move(STATE_OF[phase], reason, took)
            if self.requests.to_stop:
                return self._put_back(self._why_stopped())
            ended = await self._run_phase(phase, run)
            reason, took = ended.reason, {phase: ended.seconds}
            if ended.how != "ok":
                return self._end_early(phase, run, ended)
        return self._move("done", reason, took)

    def _end_early(self, phase: Phase, run: RunDir, ended: PhaseEnd) -> Job:
        """Move the job to where it belongs after a phase that did not end well."""
        took: dict[str, float] = {phase: ended.seconds}
        if ended.how == "stopped":
            return self._put_back(ended.reason, took)
        if ended.how == "crashed":
            return self._crashed(phase, run, ended)
        if ended.how == "no room":
            return self._try_again(self.timing.full_disk_wait, ended.reason, took)
        return self._move("failed", ended.reason, took)

    def _crashed(self, phase: Phase, run: RunDir, ended: PhaseEnd) -> Job:
        """Back to the queue, to be tried again, unless it has crashed too often where it stands."""
        count = self.table.count_crash(self.job_id, run.mark(phase))
        took: dict[str, float] = {phase: ended.seconds}
        if count >= CRASHES:
            return self._move("failed", f"crashed {count} times without getting any further: {ended.reason}", took)
        wait = self.timing.crash_waits[count - 1]
        said = f"crash {count} of {CRASHES}, tried again in {wait:g} s from where it stood: {ended.reason}"
        return self._try_again(wait, said, took)

    def _try_again(self, wait: float, reason: str, took: dict[str, float]) -> Job:
        job = self.table.put_back(self.job_id, reason, took)
        self._try_again_in = wait if job.state == "queued" else None
        self._show(job, None)
        return job

    async def _rest(self, seconds: float) -> None:
        """So long, unless the job is wanted elsewhere meanwhile."""
        deadline = time.monotonic() + seconds
        while (
            (left := deadline - time.monotonic()) > 0 and not self.stop.is_set() and self.requests.job.state == "queued"
        ):
            await self.requests.wait(left)

    async def _begin_afresh(self, job: Job, run: RunDir) -> Job | None:
        """Set aside what earlier attempts left, once none of their workers writes there; the job, where that cannot be."""
        lock = await self._lock(run)
        if lock is None:
            return self.requests.job if self.requests.to_stop else self._move("failed", still_works(run))
        try:
            if self.requests.to_stop:
                return self.requests.job
            run.set_aside(job.attempt - 1)
            self.table.begun_afresh(self.job_id)
        finally:
            os.close(lock)
        return None

    async def _run_phase(self, phase: Phase, run: RunDir) -> PhaseEnd:
        began = time.monotonic()
        run.forget_progress()
        lock = await self._lock(run)
        if lock is None and self.requests.to_stop:
            return PhaseEnd("stopped", self._why_stopped())
        if lock is None:
            return PhaseEnd("failed", still_works(run))
        kills_before = kills()  # a worker that takes too much at once may be gone before it is looked at
        try:
            with run.log.open("ab") as log:
                since = log.tell()
                process = await asyncio.create_subprocess_exec(
                    *(*self.worker, phase, "--home", str(self.home.root), "--job", str(self.job_id)),
                    cwd=run.root,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=asyncio.subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(lock,),
                    env=os.environ | self.limits.environment(self.job_id) | own_environment(),
                )
        except OSError as error:
            if error.errno in DISK_TROUBLE:
                raise
            return PhaseEnd("failed", f"cannot start a worker ({self.worker[0]}): {error.strerror or error}")
        finally:
            os.close(lock)
        memory = MemoryWatch(process.pid, self.limits.memory_bytes, kills_before=kills_before, timing=self.timing)
        asked = await self._attend(process, run, memory)
        how, reason = self._judge(asked, memory, run.outcome(phase), process.returncode or 0, run.log, since)
        return PhaseEnd(how, reason, time.monotonic() - began)

    async def _lock(self, run: RunDir) -> int | None:
        """The lock of the job's one worker; an orphan that has it gets the time to see that its daemon is gone."""
        deadline = time.monotonic() + self.grace
        while (lock := lock_worker(run.worker_lock)) is None:
            if time.monotonic() > deadline or self.requests.to_stop:
                return None
            await self.requests.wait(self.timing.worker_look)
        return lock

    async def _attend(self, process: asyncio.subprocess.Process, run: RunDir, memory: MemoryWatch) -> bool:
        """Wait for the worker's end, passing on progress, and the wish to stop it. Whether it was asked to."""
        exited = asyncio.ensure_future(process.wait())
        exited.add_done_callback(lambda _: self.requests.wake())
        asked, told_at = False, None
        try:
            if (found := ProcessId.of(process.pid)) is not None:
                self.table.set_worker(self.job_id, found)
            while not exited.done():
                await self.requests.wait(self._patience(told_at))
                self._show(self.requests.job, run)
                bound_log(run.log)
                memory.look()
                if exited.done():
                    break
                asked = asked or self.requests.to_stop
                if told_at is None and (asked or memory.over):
                    told_at = time.monotonic()
                    signal_group(process.pid, signal.SIGTERM)
                elif told_at is not None and (self._waited(told_at) or memory.far_over):
                    signal_group(process.pid, signal.SIGKILL)
        finally:
            signal_group(process.pid, signal.SIGKILL)  # what it may have left behind, or all of it on our own failure
            await exited
        return asked

    def _patience(self, told_at: float | None) -> float:
        """How long to wait for news of a worker, which was told to stop at `told_at`."""
        left = None if told_at is None else told_at + self.grace - time.monotonic()
        look = self.timing.worker_look
        return look if left is None or left <= 0 else min(left, look)

    def _waited(self, since: float) -> bool:
        """Whether a worker that was told to stop at `since` has had its time."""
        return self.stop.hurried or time.monotonic() - since >= self.grace

    def _why_stopped(self) -> str:
        """Why a job goes back that nobody wants cancelled or paused."""
        if not self.stop.is_set():
            return RESUMED
        if self.when_stopped == "queued":
            return "stopped; it goes on from where it stood when the daemon is started again"
        return "stopped by a signal (Ctrl-C, or SIGTERM)"

    def _judge(
        self, asked: bool, memory: MemoryWatch, outcome: Outcome | None, returncode: int, log: Path, since: int
    ) -> tuple[How, str]:
        if outcome is not None and outcome.ok:
            return "ok", outcome.describe()
        if outcome is not None and not (asked and self.table.get(self.job_id).cancel_requested):
            return "failed", outcome.reason
        if asked:
            return "stopped", self._why_stopped()
        if memory.over:
            return "failed", self._make_smaller(
                f"its worker took {memory.peak / 1e9:.2f} GB, and worker.memory allows {self.limits.memory}", log, since
            )
        if returncode == WorkerExit.STOPPED:
            return self._stopped_outside()
        if returncode == WorkerExit.NO_ROOM:
            return (
                "no room",
                f"the disk takes no more; it goes on when there is room: {tail(log, lines=1, since=since)}",
            )
        if (said := memory.verdict(returncode, tail(log, since=since))) is not None:
            return "failed", self._make_smaller(said, log, since)
        return "crashed", why_it_ended(returncode, log, since)

    def _make_smaller(self, said: str, log: Path, since: int) -> str:
        """The end of a worker that took too much, with the settings to change; trying again would end the same way."""
        ways = remedy(self.table.spec(self.job_id).training)
        if self.limits.memory:
            ways += f"; or a larger worker.memory in {self.home.config}"
        said = f"{said}. Make the job smaller and submit it again: {ways}"
        last = tail(log, since=since)
        return f"{said}\nits log ends:\n{last}" if last else said

    def _stopped_outside(self) -> tuple[How, str]:
        before = 0
        for event in self.table.history(self.job_id):
            before = 0 if event.state in ENDED else before + (event.reason == STOPPED_OUTSIDE)
        if before + 1 >= STOPS_OUTSIDE:
            return "failed", f"its worker was stopped from outside {before + 1} times"
        return "stopped", STOPPED_OUTSIDE

    def _put_back(self, reason: str, took: dict[str, float] | None = None) -> Job:
        job = self.table.put_back(self.job_id, reason, took, self.when_stopped)
        self._show(job, None)
        return job

    def _move(self, state: State, reason: str = "", took: dict[str, float] | None = None) -> Job:
        job = self.table.transition(self.job_id, state, reason, took)
        self._show(job, None)
        return job

    def _show(self, job: Job, run: RunDir | None) -> None:
        if self.on_update is None:
            return
        shown = (job.state, run.progress() if run else None)
        if shown != self._shown:
            self._shown = shown
            self.on_update(job, shown[1])
