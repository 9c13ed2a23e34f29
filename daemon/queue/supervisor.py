"""Supervisor takes one job from queued to ended: it starts a worker process for each phase, and waits for its end.

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
from prefd.daemon.machine.memory import count_kills
from prefd.daemon.machine.processes import SAME_HASHES, WORKER, ProcessId, signal_group
from prefd.daemon.machine.threads import run_in_thread
from prefd.daemon.queue.memory_watch import MemoryWatch
from prefd.daemon.queue.requests import JobRequests
from prefd.daemon.queue.stop_request import Stop
from prefd.daemon.queue.worker_process import describe_end, lock_worker
from prefd.daemon.runs.phase_outcomes import Outcome
from prefd.daemon.runs.phases import Phase
from prefd.daemon.runs.run_folder import Progress, RunDir
from prefd.daemon.runs.snapshot import freeze
from prefd.daemon.runs.worker_log import bound_log, read_tail
from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.memory_advice import suggest_savings
from prefd.daemon.specs.reading import SpecError, check_loss
from prefd.daemon.timing import USUAL, Timing

STOPPED_OUTSIDE = "its worker was stopped from outside; it goes on from where it stood"
STOPS_OUTSIDE = 3
"""How often a job may be stopped by neither the daemon nor a user before it counts as failed."""

CRASHES = 3
"""How often a worker may crash without having got any further before its job counts as failed."""

OnUpdate = Callable[[Job, Progress | None], None]
"""Called when the job's state or its progress has changed."""


EndKind = Literal["ok", "failed", "stopped", "crashed", "no room"]


@dataclass(frozen=True)
class PhaseEnd:
    """How the worker of a phase ended, and after how many seconds."""

    kind: EndKind
    reason: str
    seconds: float = 0.0


def plan_phases(spec: JobSpec, catalog: Catalog) -> list[Phase]:
    """Return the phases of a job. A loss without a reference has nothing to precompute. Raises SpecError."""
    check_loss(spec, catalog)
    if spec.training is None:
        return ["precompute"]
    return ["precompute", "training"] if catalog.need_reference(spec.loss_names) else ["training"]


def build_environment() -> dict[str, str]:
    """Return the variables that every worker has in its environment, whatever its limits."""
    return {"PYTHONUNBUFFERED": "1", "PREFD_PARENT": str(os.getpid()), **SAME_HASHES}


def describe_busy_folder(run: RunDir) -> str:
    """Say why a job fails whose folder another worker still uses."""
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
        on_update: OnUpdate | None = None,
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
        self._last_update: tuple[State, Progress | None] | None = None

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
        """Run the job's phases one after the other, as far as they go, and return the job as it stands then."""
        job = self.requests.job
        if job.state != "queued":  # paused or cancelled since its turn came
            return job
        spec = self.table.spec(self.job_id)
        try:
            planned = plan_phases(spec, catalog)
        except SpecError as error:
            return self._move("failed", str(error))
        run = await run_in_thread(freeze, self.home, self.job_id, spec)
        if job.fresh:
            if (blocked_job := await self._begin_afresh(job, run)) is not None:
                return blocked_job
            await run_in_thread(freeze, self.home, self.job_id, spec, anew=True)
        reason, phase_seconds = "", dict[str, float]()
        for phase in planned:
            run.forget_outcome(phase)  # before anyone can take it for the end of the phase that begins
            self._move(STATE_OF[phase], reason, phase_seconds)
            if self.requests.to_stop:
                return self._put_back(self._why_stopped())
            end = await self._run_phase(phase, run)
            reason, phase_seconds = end.reason, {phase: end.seconds}
            if end.kind != "ok":
                return self._end_early(phase, run, end)
        return self._move("done", reason, phase_seconds)

    def _end_early(self, phase: Phase, run: RunDir, end: PhaseEnd) -> Job:
        """Move the job to where it belongs after a phase that did not end well."""
        phase_seconds: dict[str, float] = {phase: end.seconds}
        if end.kind == "stopped":
            return self._put_back(end.reason, phase_seconds)
        if end.kind == "crashed":
            return self._handle_crash(phase, run, end)
        if end.kind == "no room":
            return self._try_again(self.timing.full_disk_wait, end.reason, phase_seconds)
        return self._move("failed", end.reason, phase_seconds)

    def _handle_crash(self, phase: Phase, run: RunDir, end: PhaseEnd) -> Job:
        """Put the job back to be tried again, or let it fail where it has crashed too often without getting further."""
        count = self.table.count_crash(self.job_id, run.mark(phase))
        phase_seconds: dict[str, float] = {phase: end.seconds}
        if count >= CRASHES:
            return self._move(
                "failed", f"crashed {count} times without getting any further: {end.reason}", phase_seconds
            )
        wait = self.timing.crash_waits[count - 1]
        reason = f"crash {count} of {CRASHES}, tried again in {wait:g} s from where it stood: {end.reason}"
        return self._try_again(wait, reason, phase_seconds)

    def _try_again(self, wait: float, reason: str, phase_seconds: dict[str, float]) -> Job:
        job = self.table.put_back(self.job_id, reason, phase_seconds)
        self._try_again_in = wait if job.state == "queued" else None
        self._show(job, None)
        return job

    async def _rest(self, seconds: float) -> None:
        """Wait for so many seconds, or until the job is moved or the process is to stop."""
        deadline = time.monotonic() + seconds
        while (
            (remaining := deadline - time.monotonic()) > 0
            and not self.stop.is_set()
            and self.requests.job.state == "queued"
        ):
            await self.requests.wait(remaining)

    async def _begin_afresh(self, job: Job, run: RunDir) -> Job | None:
        """Set the files of earlier attempts aside, once none of their workers writes there.

        Returns None, or the job where that cannot be done.
        """
        lock = await self._take_lock(run)
        if lock is None:
            return self.requests.job if self.requests.to_stop else self._move("failed", describe_busy_folder(run))
        try:
            if self.requests.to_stop:
                return self.requests.job
            run.set_aside(job.attempt - 1)
            self.table.clear_fresh(self.job_id)
        finally:
            os.close(lock)
        return None

    async def _run_phase(self, phase: Phase, run: RunDir) -> PhaseEnd:
        """Start a worker for the phase, wait for its end, and say how it ended. Raises OSError for a full disk."""
        began = time.monotonic()
        run.forget_progress()
        lock = await self._take_lock(run)
        if lock is None and self.requests.to_stop:
            return PhaseEnd("stopped", self._why_stopped())
        if lock is None:
            return PhaseEnd("failed", describe_busy_folder(run))
        kills_before = count_kills()  # a worker that takes too much at once may be gone before it is looked at
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
                    env=os.environ | self.limits.environment(self.job_id) | build_environment(),
                )
        except OSError as error:
            if error.errno in DISK_TROUBLE:
                raise
            return PhaseEnd("failed", f"cannot start a worker ({self.worker[0]}): {error.strerror or error}")
        finally:
            os.close(lock)
        memory = MemoryWatch(process.pid, self.limits.memory_bytes, kills_before=kills_before, timing=self.timing)
        stop_requested = await self._attend(process, run, memory)
        kind, reason = self._judge(stop_requested, memory, run.outcome(phase), process.returncode or 0, run.log, since)
        return PhaseEnd(kind, reason, time.monotonic() - began)

    async def _take_lock(self, run: RunDir) -> int | None:
        """Take the lock of the job's one worker. An orphan that has it gets `grace` seconds to notice that it is one."""
        deadline = time.monotonic() + self.grace
        while (lock := lock_worker(run.worker_lock)) is None:
            if time.monotonic() > deadline or self.requests.to_stop:
                return None
            await self.requests.wait(self.timing.worker_look)
        return lock

    async def _attend(self, process: asyncio.subprocess.Process, run: RunDir, memory: MemoryWatch) -> bool:
        """Wait for the worker's end, show its progress, and stop it on request. Returns whether that was requested."""
        exited = asyncio.ensure_future(process.wait())
        exited.add_done_callback(lambda _: self.requests.wake())
        stop_requested, signalled_at = False, None
        try:
            if (process_id := ProcessId.find(process.pid)) is not None:
                self.table.set_worker(self.job_id, process_id)
            while not exited.done():
                await self.requests.wait(self._choose_wait(signalled_at))
                self._show(self.requests.job, run)
                bound_log(run.log)
                memory.look()
                if exited.done():
                    break
                stop_requested = stop_requested or self.requests.to_stop
                if signalled_at is None and (stop_requested or memory.over):
                    signalled_at = time.monotonic()
                    signal_group(process.pid, signal.SIGTERM)
                elif signalled_at is not None and (self._is_overdue(signalled_at) or memory.is_far_over):
                    signal_group(process.pid, signal.SIGKILL)
        finally:
            signal_group(process.pid, signal.SIGKILL)  # its children, if any, or all of it on our own failure
            await exited
        return stop_requested

    def _choose_wait(self, signalled_at: float | None) -> float:
        """Return for how many seconds to wait for news of a worker, which was sent SIGTERM at `signalled_at`."""
        remaining = None if signalled_at is None else signalled_at + self.grace - time.monotonic()
        look = self.timing.worker_look
        return look if remaining is None or remaining <= 0 else min(remaining, look)

    def _is_overdue(self, since: float) -> bool:
        """Return whether a worker that was sent SIGTERM at `since` has had its time."""
        return self.stop.hurried or time.monotonic() - since >= self.grace

    def _why_stopped(self) -> str:
        """Return the reason for a job that stops without being cancelled or paused."""
        if not self.stop.is_set():
            return RESUMED
        if self.when_stopped == "queued":
            return "stopped; it goes on from where it stood when the daemon is started again"
        return "stopped by a signal (Ctrl-C, or SIGTERM)"

    def _judge(
        self, stop_requested: bool, memory: MemoryWatch, outcome: Outcome | None, returncode: int, log: Path, since: int
    ) -> tuple[EndKind, str]:
        """Decide how a worker ended and why, in words, from its outcome, its memory, its exit code and its log."""
        if outcome is not None and outcome.ok:
            return "ok", outcome.describe()
        if outcome is not None and not (stop_requested and self.table.get(self.job_id).cancel_requested):
            return "failed", outcome.reason
        if stop_requested:
            return "stopped", self._why_stopped()
        if memory.over:
            return "failed", self._advise_smaller(
                f"its worker took {memory.peak / 1e9:.2f} GB, and worker.memory allows {self.limits.memory}", log, since
            )
        if returncode == WorkerExit.STOPPED:
            return self._judge_stop_from_outside()
        if returncode == WorkerExit.NO_ROOM:
            return (
                "no room",
                f"the disk takes no more; it goes on when there is room: {read_tail(log, lines=1, since=since)}",
            )
        if (cause := memory.verdict(returncode, read_tail(log, since=since))) is not None:
            return "failed", self._advise_smaller(cause, log, since)
        return "crashed", describe_end(returncode, log, since)

    def _advise_smaller(self, message: str, log: Path, since: int) -> str:
        """Add to the cause of a worker's end for want of memory the settings that make the job smaller, and the log's end.

        Trying the same job again would end the same way.
        """
        ways = suggest_savings(self.table.spec(self.job_id).training)
        if self.limits.memory:
            ways += f"; or a larger worker.memory in {self.home.config}"
        message = f"{message}. Make the job smaller and submit it again: {ways}"
        last = read_tail(log, since=since)
        return f"{message}\nits log ends:\n{last}" if last else message

    def _judge_stop_from_outside(self) -> tuple[EndKind, str]:
        """Put a job back whose worker another program stopped, unless that has happened too often."""
        before = 0
        for event in self.table.history(self.job_id):
            before = 0 if event.state in ENDED else before + (event.reason == STOPPED_OUTSIDE)
        if before + 1 >= STOPS_OUTSIDE:
            return "failed", f"its worker was stopped from outside {before + 1} times"
        return "stopped", STOPPED_OUTSIDE

    def _put_back(self, reason: str, phase_seconds: dict[str, float] | None = None) -> Job:
        job = self.table.put_back(self.job_id, reason, phase_seconds, self.when_stopped)
        self._show(job, None)
        return job

    def _move(self, state: State, reason: str = "", phase_seconds: dict[str, float] | None = None) -> Job:
        job = self.table.transition(self.job_id, state, reason, phase_seconds)
        self._show(job, None)
        return job

    def _show(self, job: Job, run: RunDir | None) -> None:
        if self.on_update is None:
            return
        update = (job.state, run.progress() if run else None)
        if update != self._last_update:
            self._last_update = update
            self.on_update(job, update[1])
