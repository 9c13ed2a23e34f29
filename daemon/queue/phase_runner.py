"""PhaseRunner has each phase of a job run by a worker: it watches it, stops it on request, and says how the phase ended.

A worker whose phase has ended well runs the next one too: it has imported the model library and read the data already, and
has no model in memory then. Where plugins or settings have changed since it was started, the next phase gets a new worker.

A worker is told to stop by SIGTERM and has `grace` seconds to save its state; then it is killed, which by design
loses at most what it had not committed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from prefd.daemon.home.identity import HomeFolder
from prefd.daemon.home.layout import Home, HomeUnusable
from prefd.daemon.home.worker_limits import WorkerLimits
from prefd.daemon.jobs.table import Job
from prefd.daemon.machine.files import DISK_TROUBLE
from prefd.daemon.machine.interpreter import build_environment
from prefd.daemon.machine.memory import count_kills
from prefd.daemon.machine.processes import ProcessId, signal_group
from prefd.daemon.machine.threads import run_in_thread
from prefd.daemon.queue.job_worker import JobWorker
from prefd.daemon.queue.memory_watch import MemoryWatch
from prefd.daemon.queue.phase_end import EndedWorker, PhaseEnd
from prefd.daemon.queue.requests import JobRequests
from prefd.daemon.queue.wakefulness import keep_awake
from prefd.daemon.queue.worker_ahead import WorkerAhead
from prefd.daemon.queue.worker_process import describe_busy_folder, lock_worker
from prefd.daemon.runs.phases import Phase
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.step_memory import rescue_step
from prefd.daemon.runs.worker_log import bound_log
from prefd.daemon.specs.losses import Provision
from prefd.daemon.timing import Timing


class PhaseRunner:
    """Runs the phases of the job that `requests` are about, with one worker at a time; `dismiss` is called at the end.

    `worker`: the command of a worker. `grace`: the seconds that it has to save its state. `show`: called with the job and
    its folder at every look at a worker. `folder`: that of the home which the caller serves; what lies at its path later may be
    another one's, a copy of it perhaps. `ahead`: a worker that is there already, for the first phase of a job.
    """

    def __init__(
        self,
        home: Home,
        requests: JobRequests,
        show: Callable[[Job, RunDir], None],
        *,
        worker: Sequence[str],
        grace: float,
        limits: WorkerLimits,
        timing: Timing,
        folder: HomeFolder | None = None,
        ahead: WorkerAhead | None = None,
    ) -> None:
        self.home = home
        self.ahead = ahead
        self.folder = folder
        self.requests = requests
        self.table = requests.table
        self.show = show
        self.worker = worker
        self.grace = grace
        self.limits = limits
        self._rest: str | None = None
        """Why the last worker was told to stop, where the battery was low or the machine hot."""
        self.timing = timing
        self._waiting: JobWorker | None = None
        """The worker that has run the last phase well, and waits for another."""

    async def run(self, phase: Phase, run: RunDir, provision: Provision) -> PhaseEnd:
        """Have a worker run the phase, wait for its end, and say how it ended. Raises OSError for a full disk.

        Raises HomeUnusable where the home went away before the worker could be started. Where it did so meanwhile, the outcome
        that lies at its path may be another home's, and the phase counts as stopped.

        `provision`: what the phase was planned with. What a worker had kept of its last step outlives it.
        """
        began = time.monotonic()
        self._rest = None
        run.forget_progress()
        if self._waiting is not None:
            self._refuse_lost_home()
        kills_before = count_kills()  # a worker that takes too much at once may be gone before it is looked at
        worker = await self._take_waiting(provision)
        since = run.log.stat().st_size if run.log.exists() else 0
        if worker is not None:
            await worker.begin(phase)
        else:
            started = await self._start(phase, run, provision)
            if isinstance(started, PhaseEnd):
                return started
            worker = started
        try:
            end = await self._see_through(worker, phase, run, kills_before, since)
            if end.kind not in ("ok", "failed") and self._describe_loss() is None:
                await run_in_thread(rescue_step, worker.steps, run)
        finally:
            if self._waiting is not worker:
                worker.steps.close()
        return replace(end, seconds=time.monotonic() - began)

    async def _see_through(
        self, worker: JobWorker, phase: Phase, run: RunDir, kills_before: int, since: int
    ) -> PhaseEnd:
        """Wait until the worker has ended its phase, and say how; what it logs of it begins at byte `since`."""
        memory = MemoryWatch(
            worker.pid,
            self.limits.memory_bytes,
            kills_before=kills_before,
            has_ranks=self.table.spec(self.requests.job_id).ranks != 1,
            timing=self.timing,
        )
        async with keep_awake(worker.pid, self.limits.prevent_sleep):
            stop_requested = await self._attend(worker, run, memory)
        worker_end = EndedWorker(
            self.table,
            self.requests.job_id,
            stop_requested,
            run.outcome(phase),
            worker.process.returncode or 0,
            memory,
            self.limits,
            run.log,
            since,
            self.home.config,
        )
        kind, reason = worker_end.judge()
        if kind == "ok" and self._describe_loss() is not None:
            kind, reason = "stopped", ""
        if kind == "stopped" and self._rest is not None:
            reason = f"{self._rest}; it goes on from where it stood"
        return PhaseEnd(kind, reason)

    def _describe_loss(self) -> str | None:
        """Say what became of the home; None while it is there, or where nobody asks."""
        return None if self.folder is None else self.folder.describe_loss()

    def _refuse_lost_home(self) -> None:
        """Raise HomeUnusable where the home went away, so that no phase begins in another one's."""
        if (lost := self._describe_loss()) is not None:
            raise HomeUnusable(lost)

    async def _take_waiting(self, provision: Provision) -> JobWorker | None:
        """Return the worker that waits for a phase, where there is one that was started with `provision`; another one leaves."""
        worker = self._waiting
        if worker is not None and not worker.is_over and worker.was_given(provision):
            self._waiting = None
            return worker
        await self.dismiss()
        return None

    async def dismiss(self) -> None:
        """Have a worker leave that waits for a phase, and wait until it has: its memory is free then."""
        worker, self._waiting = self._waiting, None
        if worker is not None:
            await worker.dismiss()

    async def _start(self, phase: Phase, run: RunDir, provision: Provision) -> JobWorker | PhaseEnd:
        """Start a worker with `phase`, or say why none was. Raises OSError for a full disk."""
        lock = await self.take_lock(run)
        if lock is None and self.requests.to_stop:
            return PhaseEnd("stopped", "")
        if lock is None:
            return PhaseEnd("failed", describe_busy_folder(run))
        try:
            self._refuse_lost_home()
            return await JobWorker.start(
                self.worker,
                (phase, "--home", str(self.home.root), "--job", str(self.requests.job_id)),
                run,
                lock,
                self.limits.environment(self.requests.job_id) | build_environment(),
                provision,
                self.ahead,
            )
        except OSError as error:
            if error.errno in DISK_TROUBLE:
                raise
            if not run.root.is_dir():
                raise HomeUnusable(f"{run.root} is not there any more") from error
            return PhaseEnd("no worker", f"cannot start a worker ({self.worker[0]}): {error.strerror or error}")
        finally:
            os.close(lock)

    async def take_lock(self, run: RunDir) -> int | None:
        """Take the lock of the job's one worker. An orphan that has it gets `grace` seconds to notice that it is one."""
        deadline = time.monotonic() + self.grace
        while (lock := lock_worker(run.worker_lock)) is None:
            if time.monotonic() > deadline or self.requests.to_stop:
                return None
            await self.requests.wait(self.timing.worker_look)
        return lock

    async def _attend(self, worker: JobWorker, run: RunDir, memory: MemoryWatch) -> bool:
        """Wait until the worker has ended its phase, show its progress, and stop it on request. Returns whether that was requested."""
        ended = asyncio.ensure_future(worker.wait_for_phase())
        ended.add_done_callback(lambda _: self.requests.wake())
        stop_requested, signalled_at = False, None
        try:
            if (process_id := ProcessId.find(worker.pid)) is not None:
                self.table.set_worker(self.requests.job_id, process_id)
            while not ended.done():
                await self.requests.wait(self._choose_wait(signalled_at))
                self.show(self.requests.job, run)
                bound_log(run.log)
                memory.look()
                if ended.done():
                    break
                self._rest = self._rest or self.limits.explain_rest(is_running=True)
                stop_requested = stop_requested or self.requests.to_stop or self._rest is not None
                if signalled_at is None and (stop_requested or memory.must_stop):
                    signalled_at = time.monotonic()
                    signal_group(worker.pid, signal.SIGTERM)
                elif signalled_at is not None and (self._is_overdue(signalled_at) or memory.is_far_over):
                    signal_group(worker.pid, signal.SIGKILL)
            if ended.result() and signalled_at is None:  # one that was told to stop would stop in its next phase
                self._waiting = worker
        finally:
            ended.cancel()
            if self._waiting is not worker:
                await worker.end()  # or all of it on our own failure
        return stop_requested

    def _choose_wait(self, signalled_at: float | None) -> float:
        """Return for how many seconds to wait for news of a worker, which was sent SIGTERM at `signalled_at`."""
        remaining = None if signalled_at is None else signalled_at + self.grace - time.monotonic()
        look = self.timing.worker_look
        return look if remaining is None or remaining <= 0 else min(remaining, look)

    def _is_overdue(self, since: float) -> bool:
        """Return whether a worker that was sent SIGTERM at `since` has had its time."""
        return self.requests.stop.hurried or time.monotonic() - since >= self.grace
