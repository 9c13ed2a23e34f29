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

from prefd.daemon.catalog import Catalog
from prefd.daemon.home import Home
from prefd.daemon.jobs import ENDED, RESUMED, Job, JobTable, State
from prefd.daemon.logs import bound_log
from prefd.daemon.process import (
    STOPPED,
    WORKER,
    ProcessId,
    lock_worker,
    signal_group,
    why_it_ended,
)
from prefd.daemon.rundir import Outcome, Phase, Progress, RunDir, write_json
from prefd.daemon.spec import JobSpec
from prefd.daemon.specfile import SpecError, check_loss

TICK_SECONDS = 0.2
STATE_OF: dict[Phase, State] = {"precompute": "precomputing", "training": "training"}
STOPPED_OUTSIDE = "its worker was stopped from outside; it goes on from where it stood"
STOPS_OUTSIDE = 3
"""How often a job may be stopped by neither the daemon nor a user before it counts as failed."""

Watch = Callable[[Job, Progress | None], None]
"""Called when the job's state or its progress has changed."""


class Stop:
    """A request to stop, made by signal handlers and the control API. A second request means: without waiting."""

    def __init__(self) -> None:
        self.requests = 0

    def request(self) -> None:
        self.requests += 1

    def is_set(self) -> bool:
        return self.requests > 0

    @property
    def hurried(self) -> bool:
        return self.requests > 1


@dataclass(frozen=True)
class PhaseEnd:
    how: Literal["ok", "failed", "stopped"]
    reason: str
    seconds: float = 0.0


def phases(spec: JobSpec, catalog: Catalog) -> list[Phase]:
    """What the job goes through. A loss without a reference has nothing to precompute. Raises SpecError."""
    check_loss(spec, catalog)
    if spec.training is None:
        return ["precompute"]
    return ["precompute", "training"] if catalog.need_reference(spec.losses.values()) else ["training"]


def freeze(home: Home, job_id: int, spec: JobSpec) -> RunDir:
    """The job's folder with its spec in it, as the worker reads it. The first call decides."""
    run = RunDir(home.job(job_id))
    run.root.mkdir(parents=True, exist_ok=True)
    if not run.spec.exists():
        write_json(run.spec, spec.model_dump(mode="json", exclude_unset=True))
    return run


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
    ) -> None:
        self.home = home
        self.table = table
        self.job_id = job_id
        self.worker = worker
        self.grace = grace
        self.stop = stop or Stop()
        self.when_stopped = when_stopped
        self.on_update = on_update
        self._shown: tuple[State, Progress | None] | None = None

    async def run(self, catalog: Catalog) -> Job:
        """Take the job as far as it goes: to its end, or to a pause, or back to the queue when `stop` is requested."""
        job = self.table.get(self.job_id)
        if job.state != "queued":  # paused or cancelled since it was chosen
            return job
        spec = self.table.spec(self.job_id)
        try:
            planned = phases(spec, catalog)
        except SpecError as error:
            return self._move("failed", str(error))
        run = freeze(self.home, self.job_id, spec)
        if job.fresh and (held := await self._begin_afresh(job, run)) is not None:
            return held
        reason, took = "", dict[str, float]()
        for phase in planned:
            job = self._move(STATE_OF[phase], reason, took)
            if self._to_stop(job):
                return self._put_back(self._why_stopped())
            ended = await self._run_phase(phase, run)
            reason, took = ended.reason, {phase: ended.seconds}
            if ended.how == "stopped":
                return self._put_back(reason, took)
            if ended.how == "failed":
                return self._move("failed", reason, took)
        return self._move("done", reason, took)

    async def _begin_afresh(self, job: Job, run: RunDir) -> Job | None:
        """Set aside what earlier attempts left, once none of their workers writes there; the job, where that cannot be."""
        lock = await self._lock(run)
        now = self.table.get(self.job_id)
        if lock is None:
            return now if self._to_stop(now) else self._move("failed", still_works(run))
        try:
            if self._to_stop(now):
                return now
            run.set_aside(job.attempt - 1)
            self.table.begun_afresh(self.job_id)
        finally:
            os.close(lock)
        return None

    async def _run_phase(self, phase: Phase, run: RunDir) -> PhaseEnd:
        began = time.monotonic()
        run.forget_outcome(phase)
        (run.root / "progress.json").unlink(missing_ok=True)
        lock = await self._lock(run)
        if lock is None and self._to_stop(self.table.get(self.job_id)):
            return PhaseEnd("stopped", self._why_stopped())
        if lock is None:
            return PhaseEnd("failed", still_works(run))
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
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                )
        except OSError as error:
            return PhaseEnd("failed", f"cannot start a worker ({self.worker[0]}): {error.strerror or error}")
        finally:
            os.close(lock)
        asked = await self._attend(process, run)
        seconds = time.monotonic() - began
        return self._judge(asked, run.outcome(phase), process.returncode or 0, run.log, since, seconds)

    async def _lock(self, run: RunDir) -> int | None:
        """The lock of the job's one worker; an orphan that has it gets the time to see that its daemon is gone."""
        deadline = time.monotonic() + self.grace
        while (lock := lock_worker(run.root / ".worker.lock")) is None:
            if time.monotonic() > deadline or self._to_stop(self.table.get(self.job_id)):
                return None
            await asyncio.sleep(TICK_SECONDS)
        return lock

    async def _attend(self, process: asyncio.subprocess.Process, run: RunDir) -> bool:
        """Wait for the worker's end, passing on progress, and the wish to stop it. Whether it was asked to."""
        exited = asyncio.ensure_future(process.wait())
        asked_at: float | None = None
        try:
            found = ProcessId.of(process.pid)
            self.table.set_worker(self.job_id, process.pid, found.started if found else None)
            while not exited.done():
                await asyncio.wait({exited}, timeout=TICK_SECONDS)
                job = self.table.get(self.job_id)
                self._show(job, run)
                bound_log(run.log)
                if asked_at is None and not exited.done() and self._to_stop(job):
                    asked_at = time.monotonic()
                    signal_group(process.pid, signal.SIGTERM)
                elif asked_at is not None and (self.stop.hurried or time.monotonic() - asked_at > self.grace):
                    signal_group(process.pid, signal.SIGKILL)
        finally:
            signal_group(process.pid, signal.SIGKILL)  # what it may have left behind, or all of it on our own failure
            await exited
        return asked_at is not None

    def _to_stop(self, job: Job) -> bool:
        return job.cancel_requested or job.pausing or self.stop.is_set()

    def _why_stopped(self) -> str:
        """Why a job goes back that nobody wants cancelled or paused."""
        if not self.stop.is_set():
            return RESUMED
        if self.when_stopped == "queued":
            return "stopped; it goes on from where it stood when the daemon is started again"
        return "stopped by a signal (Ctrl-C, or SIGTERM)"

    def _judge(
        self, asked: bool, outcome: Outcome | None, returncode: int, log: Path, since: int, seconds: float
    ) -> PhaseEnd:
        if outcome is not None and outcome.ok:
            return PhaseEnd("ok", outcome.reason or str(outcome.summary.get("line", "")), seconds)
        if outcome is not None and not (asked and self.table.get(self.job_id).cancel_requested):
            return PhaseEnd("failed", outcome.reason, seconds)
        if asked:
            return PhaseEnd("stopped", self._why_stopped(), seconds)
        if returncode != STOPPED:
            return PhaseEnd("failed", why_it_ended(returncode, log, since), seconds)
        before = 0
        for event in self.table.history(self.job_id):
            before = 0 if event.state in ENDED else before + (event.reason == STOPPED_OUTSIDE)
        if before + 1 >= STOPS_OUTSIDE:
            return PhaseEnd("failed", f"its worker was stopped from outside {before + 1} times", seconds)
        return PhaseEnd("stopped", STOPPED_OUTSIDE, seconds)

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


def run_in_foreground(
    home: Home,
    spec: JobSpec,
    source: str,
    catalog: Catalog,
    on_update: Watch | None = None,
    *,
    grace: float = 60.0,
    worker: Sequence[str] = WORKER,
) -> Job:
    """`prefd run`: add the job as this process's own, run it here, and return it ended.

    `spec` is validated, with absolute paths; without `training` it only fills the cache. SIGINT and SIGTERM end it as
    cancelled, once its worker has stopped. Main thread only. Raises JobTableError.
    """
    home.create()
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
        )

        async def run() -> Job:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(number, stop.request)
            return await supervisor.run(catalog)

        try:
            return asyncio.run(run())
        except BaseException as error:
            if not table.get(job.id).ended:
                table.transition(job.id, "failed", f"`prefd run` broke off: {type(error).__name__}: {error}")
            raise
