"""Holds are what jobs of a queue wait for besides their turn: trouble of the machine, a plugin, what the hub has, the GPU.

They are told to `take_turns`, which starts no job that is held. What is missing is tried again in a task of its own, so that
the queue's loop goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from prefd.daemon.jobs.table import Job, JobTable
from prefd.daemon.queue.conditions import Conditions
from prefd.daemon.queue.outage import Outage, list_hub_names
from prefd.daemon.queue.supervisor import explain_missing_plugin
from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.timing import USUAL, Timing

log = logging.getLogger(__name__)


DEVICE = frozenset({"the device"})
"""What every job needs of this machine, and that may fail for a while."""
FILES = frozenset({"its files"})
"""What a job may need of a folder in a cloud or on a network, beside what it takes from the hub."""


class Holds:
    """Holds keeps the reasons for which jobs of one queue are held. `queued`: set when a job may start that was held."""

    def __init__(self, conditions: Conditions, table: JobTable, queued: asyncio.Event, timing: Timing = USUAL) -> None:
        self.conditions = conditions
        self.table = table
        self.queued = queued
        self.timing = timing
        self.outage = Outage(timing)
        self.device = Outage(timing, "the end of a pass through the GPU", by_turns=True)
        self._own: dict[int, Outage] = {}
        """What a job alone waits for: its files, which may be in a cloud or on a server that does not answer."""
        self._missing_plugins: dict[int, tuple[Catalog | None, str]] = {}
        """What a job waits for that may need a plugin that cannot be loaded, and the catalogue that said so."""
        self._hub_names: dict[int, frozenset[str]] = {}
        self._renewal: asyncio.Task[None] | None = None

    @property
    def trouble(self) -> str | None:
        """Say what all jobs wait for; None where they need not."""
        return self.conditions.trouble

    @property
    def reason(self) -> str | None:
        """Say what the queue, or some of its jobs, wait for, in words; None for nothing."""
        plugin = next((reason for _, reason in self._missing_plugins.values()), None)
        files = next((own.reason for own in self._own.values()), None)
        return self.trouble or self.outage.reason or self.device.reason or plugin or files

    def renew(self, jobs: Sequence[Job]) -> None:
        """Have what is missing tried again, where one of `jobs`, which wait or run, waits for it."""
        job_ids = {job.id for job in jobs}
        for outage in (self.outage, self.device):
            outage.forget_trier(job_ids)
        self._own = {job_id: own for job_id, own in self._own.items() if job_id in job_ids}
        latest = self.conditions.losses.latest
        self._missing_plugins = {
            job_id: missing
            for job_id, missing in self._missing_plugins.items()
            if job_id in job_ids and not has_changed(missing[0], latest)
        }
        is_needed = self.trouble is not None or self._missing_plugins
        is_busy = self._renewal is not None and not self._renewal.done()
        if is_needed and not is_busy and any(job.state == "queued" for job in jobs):
            self._renewal = asyncio.create_task(self._renew(), name="renewal of the queue's conditions")

    async def _renew(self) -> None:
        before = self.trouble, self.conditions.losses.latest
        await self.conditions.renew()
        if (self.trouble, self.conditions.losses.latest) != before:
            self.queued.set()

    def find(self, job: Job) -> str | None:
        """Return what the job waits for that others need not; None where it may start."""
        if self._missing_plugins:
            self._hold_fellow(job.id)
        if job.id in self._missing_plugins:
            return self._missing_plugins[job.id][1]
        if job.id in self._own and (reason := self._own[job.id].let_try(job.id, FILES)) is not None:
            return reason
        if (reason := self.device.let_try(job.id, DEVICE)) is not None or self.outage.reason is None:
            if self.device.has_passed_over:
                self.queued.set()  # if none of those behind it tries, it does
            return reason
        return self.outage.let_try(job.id, self._list_hub_names(job.id))

    def note_missing_plugin(self, job_id: int, error: Exception) -> None:
        """Hold a job until other plugins can be loaded than now."""
        log.warning("job %d waits: %s", job_id, error, extra={"job": job_id})
        latest = self.conditions.losses.latest
        if (
            latest is not None and self._explain_missing_plugin(job_id, latest) is None
        ):  # it was planned before that came
            self.queued.set()
            return
        self._missing_plugins[job_id] = latest, f"{error}; the job waits"

    def _hold_fellow(self, job_id: int) -> None:
        """Hold a job that lacks a plugin as another does, without trying it: then both may start at once, in their order."""
        latest = self.conditions.losses.latest
        if latest is None or job_id in self._missing_plugins:
            return
        if (missing := self._explain_missing_plugin(job_id, latest)) is not None:
            self._missing_plugins[job_id] = latest, f"{missing}; the job waits"

    def _explain_missing_plugin(self, job_id: int, catalog: Catalog) -> str | None:
        """Say what the job lacks of plugins; None for nothing, or where its spec cannot be read."""
        spec = self.table.find_spec(job_id)
        return None if spec is None or spec.live is not None else explain_missing_plugin(spec, catalog)

    def note_outage(self, job_id: int, reason: str, is_hubs: bool = True) -> None:
        """Hold a job until what it reads can be had, and others that need the same of the hub where it is the hub that is away."""
        if is_hubs and (names := self._list_hub_names(job_id)):
            self.outage.note(job_id, names, reason)
        else:
            self._own.setdefault(job_id, Outage(self.timing, "its files")).note(job_id, FILES, reason)

    def note_reached(self, job_id: int) -> None:
        """Note that a job has all that it reads."""
        self.outage.note_reached(job_id)
        self._own.pop(job_id, None)

    def note_device_trouble(self, job_id: int, reason: str) -> None:
        """Hold all jobs until one of them gets through a pass on the GPU."""
        self.device.note(job_id, DEVICE, reason)

    def tries_device(self, job_id: int) -> bool:
        """Say whether a job has started to try whether the GPU still fails."""
        return self.device.trier == job_id

    def note_pass(self, job_id: int) -> None:
        """Note that a job got through a pass on the GPU."""
        self.device.note_reached(job_id)

    def forget(self, job_id: int) -> None:
        """Have the job's spec read again, which may have been edited."""
        self._hub_names.pop(job_id, None)

    def _list_hub_names(self, job_id: int) -> frozenset[str]:
        """List what the job takes from the hub; nothing where its spec cannot be read."""
        if job_id not in self._hub_names:
            spec = self.table.find_spec(job_id)
            self._hub_names[job_id] = frozenset() if spec is None else list_hub_names(spec)
        return self._hub_names[job_id]


def has_changed(before: Catalog | None, now: Catalog | None) -> bool:
    """Return whether other losses are there now, or other plugins cannot be loaded."""
    if before is None or now is None:
        return before is not now
    return (before.losses.keys(), before.failures) != (now.losses.keys(), now.failures)
