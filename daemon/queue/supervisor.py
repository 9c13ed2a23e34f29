"""Supervisor takes one job from queued to ended: it has each phase run, and moves the job by how the phase ended."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Sequence

from prefd.daemon.home.identity import HomeFolder
from prefd.daemon.home.layout import Home
from prefd.daemon.home.worker_limits import WorkerLimits
from prefd.daemon.jobs.states import ENDED, STATE_OF, State
from prefd.daemon.jobs.table import RESUMED, Job, JobTable
from prefd.daemon.machine.interpreter import WORKER
from prefd.daemon.machine.threads import run_in_thread
from prefd.daemon.queue.phase_end import PhaseEnd
from prefd.daemon.queue.phase_runner import PhaseRunner
from prefd.daemon.queue.requests import JobRequests
from prefd.daemon.queue.stop_request import Stop
from prefd.daemon.queue.worker_ahead import WorkerAhead
from prefd.daemon.queue.worker_process import describe_busy_folder
from prefd.daemon.runs.phases import Phase
from prefd.daemon.runs.refreezing import freeze_edited
from prefd.daemon.runs.run_folder import Progress, RunDir
from prefd.daemon.runs.run_identity import ForeignFolder, RunIdentity
from prefd.daemon.runs.snapshot import freeze
from prefd.daemon.specs.catalog import Catalog, CatalogError
from prefd.daemon.specs.catalog_listing import has_changed
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.loss_faults import check_loss
from prefd.daemon.specs.losses import Provision
from prefd.daemon.specs.spec_error import SpecError
from prefd.daemon.timing import USUAL, Timing

CRASHES = 3
"""How often a worker may crash without having got any further before its job counts as failed."""

HALVINGS = 3
"""How often a job's batches are halved for want of memory before that counts as its end, and as often again after each retry; and how
often, besides, for passes that a GPU ended, which never does."""
SHORTAGE = "memory ran out"
"""How the reason begins for which a job was put back whose batches were halved."""

PLANNED_ANEW = "a plugin has changed since it began, so it is planned anew"
REPLANS = 3
"""How often in a row a failed job is planned anew: there are plugins that write themselves at each import."""

OnUpdate = Callable[[Job, Progress | None], None]
"""Called when the job's state or its progress has changed."""

Provide = Callable[[], Awaitable[Provision]]
"""Gives what the next phase is planned with, and what its worker is given. Raises CatalogError."""


OnTraining = Callable[[Job, JobSpec, RunDir, Provision], None]
"""Called when the job begins to train, or goes on with it."""


class PluginMissing(CatalogError):
    """A plugin cannot be loaded that may bring a job's loss. The message says which, and why."""


def plan_phases(spec: JobSpec, catalog: Catalog) -> list[Phase]:
    """Return the phases of a job. A loss without a reference has nothing to precompute, nor has a policy that is its own reference.

    Raises SpecError; PluginMissing for a loss that is not there while a plugin cannot be loaded, for it may bring it.
    """
    if spec.live is not None:  # its loss is the client's
        return ["live"]
    if (missing := explain_missing_plugin(spec, catalog)) is not None:
        raise PluginMissing(missing)
    check_loss(spec, catalog)
    if spec.training is None:
        return ["precompute"]
    scores_first = catalog.need_reference(spec.loss_names) and not spec.has_live_reference
    return ["precompute", "training"] if scores_first else ["training"]


def explain_missing_plugin(spec: JobSpec, catalog: Catalog) -> str | None:
    """Say which of the spec's losses is not there while a plugin cannot be loaded, which may bring it; None for neither."""
    missing = sorted(spec.loss_names - catalog.losses.keys())
    if not missing or not catalog.failures:
        return None
    plugins = "; ".join(f"plugin {plugin.name} cannot be loaded: {plugin.error}" for plugin in catalog.failed)
    return f"loss {missing[0]} is not there, and {plugins}"


class Supervisor:
    """Runs one queued job of `table`.

    `explain_crash`: looks whether the machine, and not the job, is to blame for a worker that ended without a word; without
    it the job is. `on_outage`: is told that the hub cannot be reached, or a file not be had, and takes the job back; without it the
    job waits here.
    `on_device_trouble`: the same of a GPU that fails again and again. `tries_device`: says whether the GPU has failed others and
    this job only tries whether it still does. `folder`: that of the home, where another may come into its place. `on_training`:
    is called each time that the job begins to train, or goes on with it. `ahead`: a worker that is there already.
    """

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
        explain_crash: Callable[[], Awaitable[bool]] | None = None,
        on_outage: Callable[[PhaseEnd], None] | None = None,
        on_device_trouble: Callable[[str], None] | None = None,
        tries_device: Callable[[], bool] = lambda: False,
        folder: HomeFolder | None = None,
        on_training: OnTraining = lambda job, spec, run, provision: None,
        timing: Timing = USUAL,
        ahead: WorkerAhead | None = None,
    ) -> None:
        self.home = home
        self.table = table
        self.job_id = job_id
        self.stop = stop or Stop()
        self.requests = JobRequests(table, job_id, self.stop)
        self.when_stopped = when_stopped
        self.on_update = on_update
        self.explain_crash = explain_crash
        self.on_outage = on_outage
        self.on_device_trouble = on_device_trouble
        self.tries_device = tries_device
        self.on_training = on_training
        self.timing = timing
        self.phases = PhaseRunner(
            home,
            self.requests,
            self._show,
            worker=worker,
            grace=grace,
            limits=limits or WorkerLimits(),
            timing=timing,
            folder=folder,
            ahead=ahead,
        )
        self._try_again_in: float | None = None
        self._outages = 0
        self._last_update: tuple[State, Progress | None] | None = None

    async def run(self, provide: Provide) -> Job:
        """Take the job as far as it goes: to its end, or to a pause, or back to the queue when `stop` is requested.

        `provide`: gives what a phase is planned with, asked before each. Raises CatalogError where the job cannot begin for
        want of it; the job is queued then.
        """
        with self.requests.listening():
            while True:
                self._try_again_in = None
                try:
                    job = await self._run_phases(provide)
                finally:
                    await self.phases.dismiss()
                if self._try_again_in is None:
                    return job
                await self._rest(self._try_again_in)
                job = self.requests.job
                if self.stop.is_set():
                    waits = job.state == "queued" and self.when_stopped != "queued"
                    return self._move(self.when_stopped, self._why_stopped()) if waits else job

    async def _run_phases(self, provide: Provide) -> Job:
        """Run the job's phases one after the other, as far as they go, and return the job as it stands then."""
        job = self.requests.job
        if job.state != "queued":  # paused or cancelled since its turn came
            return job
        spec = self.table.spec(self.job_id)
        provision = await provide()
        owner = RunIdentity(job.ulid, job.id, self.table.home_id(), job.name)
        try:
            planned = plan_phases(spec, provision.catalog)
            started = job.started_at is not None
            run = await run_in_thread(freeze_edited, self.home, self.job_id, spec, owner=owner, started=started)
        except (SpecError, ForeignFolder) as error:
            return self._move("failed", str(error))
        if job.fresh:
            if (blocked_job := await self._begin_afresh(job, run)) is not None:
                return blocked_job
            await run_in_thread(freeze, self.home, self.job_id, spec, anew=True, owner=owner)
        reason, phase_seconds = "", dict[str, float]()
        for index, phase in enumerate(planned):
            run.forget_outcome(phase)  # before anyone can take it for the end of the phase that begins
            if index == 0:
                begun = self.table.begin(self.job_id, STATE_OF[phase], spec)
                if begun is None:  # edited, paused or cancelled since its spec was read
                    return self.table.get(self.job_id)
                self._show(begun, None)
            else:
                self._move(STATE_OF[phase], reason, phase_seconds)
                provision = await self._renew(provision, provide, spec)
            if self.requests.to_stop:
                await self.phases.dismiss()  # a job that is paused holds no memory
                return self._put_back(self._why_stopped())
            end = await self._run_phase(phase, run, provision, spec)
            reason, phase_seconds = end.reason, {phase: end.seconds}
            if end.kind != "ok":
                return await self._end_planned(phase, run, end, provision.catalog)
        await self.phases.dismiss()
        return self._move("done", reason, phase_seconds)

    async def _run_phase(self, phase: Phase, run: RunDir, provision: Provision, spec: JobSpec) -> PhaseEnd:
        """Run one phase, and say how it ended."""
        if phase == "training":
            self.on_training(self.requests.job, spec, run, provision)
        return await self.phases.run(phase, run, provision)

    async def _renew(self, provision: Provision, provide: Provide, spec: JobSpec) -> Provision:
        """Return what the next phase is planned with: as things are now, or as they were while there is nothing better.

        Raises PluginMissing, and puts the job back, where a plugin cannot be loaded any more that it needs.
        """
        try:
            newest = await provide()
        except CatalogError:
            return provision
        try:
            plan_phases(spec, newest.catalog)
        except SpecError:  # it was edited meanwhile, and the worker says what is wrong
            return newest
        except PluginMissing as error:
            self._put_back(str(error))
            raise
        return newest

    async def _end_planned(self, phase: Phase, run: RunDir, end: PhaseEnd, catalog: Catalog) -> Job:
        """Put a job back whose phase failed while a plugin changed, or move it as `_end_early` does. `catalog`: it was planned with."""
        if end.kind == "failed" and await self._must_plan_anew(catalog):
            return self._put_back(f"{PLANNED_ANEW}: {end.reason}", {phase: end.seconds})
        return await self._end_early(phase, run, end)

    async def _must_plan_anew(self, catalog: Catalog) -> bool:
        """Return whether a phase that was planned with `catalog`, and failed, may do better when it is planned again.

        Its worker may have imported another version of a plugin, or one that was just being saved.
        """
        if not await run_in_thread(has_changed, catalog):
            return False
        last = [event.reason for event in self.table.history(self.job_id) if event.state in ("queued", *ENDED)]
        return not all(reason.startswith(PLANNED_ANEW) for reason in last[-REPLANS:]) or len(last) < REPLANS

    async def _end_early(self, phase: Phase, run: RunDir, end: PhaseEnd) -> Job:
        """Move the job to where it belongs after a phase that did not end well."""
        phase_seconds: dict[str, float] = {phase: end.seconds}
        if end.kind == "stopped":
            return self._put_back(end.reason or self._why_stopped(), phase_seconds)
        if end.kind in ("crashed", "no worker", "not ready"):
            if self.explain_crash is not None and await self.explain_crash():
                return self._put_back(f"{end.reason}; it goes on when that is over", phase_seconds)
            if end.kind != "no worker" and run.outcome(phase) is None:
                return self._handle_crash(phase, run, end)
        if end.kind in ("no network", "no file"):
            return self._handle_outage(end, phase_seconds)
        if end.kind == "no device" and self.explain_crash is not None:  # all jobs wait until the settings name another
            await self.explain_crash()
            return self._put_back(f"{end.reason}; it goes on when that is mended", phase_seconds)
        if end.kind == "no memory":
            return await self._handle_shortage(phase, run, end)
        if end.kind == "device trouble":
            return self._handle_device_trouble(phase, run, end)
        if end.kind == "no room":
            return self._try_again(self.timing.full_disk_wait, end.reason, phase_seconds)
        outcome = (
            run.outcome(phase) if end.kind == "not ready" else None
        )  # what it could not import is the job's own wish
        return self._move("failed", end.reason if outcome is None else outcome.reason, phase_seconds)

    def _handle_outage(self, end: PhaseEnd, phase_seconds: dict[str, float]) -> Job:
        """Put the job back, to be tried again after a while that grows."""
        if self.on_outage is not None:
            job = self._put_back(end.reason, phase_seconds)
            self.on_outage(end)
            return job
        wait = min(self.timing.first_outage_retry * 2**self._outages, self.timing.last_outage_retry)
        self._outages += 1
        return self._try_again(wait, f"{end.reason}; tried again in {wait:g} s", phase_seconds)

    async def _handle_shortage(self, phase: Phase, run: RunDir, end: PhaseEnd) -> Job:
        """Put the job back, to be tried again with half the batch, or let it fail where that has not helped."""
        if run.is_writing_outputs():  # for which smaller batches are no help
            return self._handle_crash(phase, run, end)
        phase_seconds: dict[str, float] = {phase: end.seconds}
        count = 1 + self._count_shortages()
        if count > HALVINGS:
            reason = f"though its batches were halved {HALVINGS} times, {end.reason}"
            return self._move("failed", reason, phase_seconds)
        await run_in_thread(run.batches.add_halving, "memory")
        reason = f"{SHORTAGE}: it goes on from where it stood with half the batch ({count} of {HALVINGS}): {end.reason}"
        return self._try_again(self.timing.crash_waits[0], reason, phase_seconds)

    def _count_shortages(self) -> int:
        """Count how often memory has run out since the job was handed in or retried; its batches stay halved over a retry."""
        count = 0
        for event in self.table.history(self.job_id):
            count = 0 if event.state in ENDED else count + event.reason.startswith(SHORTAGE)
        return count

    def _handle_device_trouble(self, phase: Phase, run: RunDir, end: PhaseEnd) -> Job:
        """Put the job back, to be tried again with shorter passes; where that has not helped, everything waits for the device."""
        phase_seconds: dict[str, float] = {phase: end.seconds}
        if self.tries_device() and self.on_device_trouble is not None:  # its passes are not to blame
            job = self._put_back(end.reason, phase_seconds)
            self.on_device_trouble(end.reason)
            return job
        count = self.table.count_crash(self.job_id, f"{run.mark(phase)}, by the GPU")  # no crash of the job's own
        if count < CRASHES:
            if run.batches.count_halvings("device") < HALVINGS:
                run.batches.add_halving("device")
            wait = self.timing.crash_waits[count - 1]
            return self._try_again(wait, f"{end.reason}; tried again in {wait:g} s with shorter passes", phase_seconds)
        if self.on_device_trouble is not None:
            job = self._put_back(end.reason, phase_seconds)
            self.on_device_trouble(end.reason)
            return job
        wait = min(self.timing.first_outage_retry * 2 ** (count - CRASHES), self.timing.last_outage_retry)
        return self._try_again(wait, f"{end.reason}; tried again in {wait:g} s", phase_seconds)

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
        lock = await self.phases.take_lock(run)
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

    def _why_stopped(self) -> str:
        """Return the reason for a job that stops without being cancelled or paused."""
        if not self.stop.is_set():
            return RESUMED
        if self.when_stopped == "queued":
            return "stopped; it goes on from where it stood when the daemon is started again"
        return "stopped by a signal (Ctrl-C, or SIGTERM)"

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
