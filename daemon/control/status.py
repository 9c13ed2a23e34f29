"""Status is what the daemon does, as it answers to `GET /v1/status` and the commands read it.

These are plain dataclasses: commands that ask the daemon do without pydantic, which takes longer than they do.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from prefd.daemon.inbox.health import WatchHealth
from prefd.daemon.jobs.job import Job
from prefd.daemon.jobs.states import State
from prefd.daemon.runs.run_folder import Progress


@dataclass(frozen=True, kw_only=True)
class Queue:
    """Queue says whether the queue is paused."""

    paused_at: float | None
    """Since when (Unix time) no job is started; null while they are."""
    waits_for: str | None = None
    """What the queue, or some of its jobs, wait for on this machine: settings, losses, a worker that starts, the hub."""


@dataclass(frozen=True, kw_only=True)
class CatalogHealth:
    """CatalogHealth says whether the losses can be listed."""

    error: str | None
    """Why the losses cannot be listed."""
    losses: int
    failed_plugins: dict[str, str] = field(default_factory=dict)
    """Why plugins cannot be loaded, by their names or paths."""


@dataclass(frozen=True, kw_only=True)
class SettingsInForce:
    """SettingsInForce holds the settings that the daemon goes by."""

    values: dict[str, Any] = field(default_factory=dict)
    """All of them, as config.toml would have them."""
    read_at: float = 0.0
    """When they were read (Unix time)."""
    error: str | None = None
    """Why config.toml cannot be read now; the values are those of before then."""
    changed: list[str] = field(default_factory=list)
    """Each setting that is not the default, in words: `parallel 2`."""


@dataclass(frozen=True)
class ActiveJob(Job):
    """ActiveJob is a job that runs, and how far it is."""

    progress: Progress | None

    @classmethod
    def from_job(cls, job: Job, progress: Progress | None) -> ActiveJob:
        """Adds `progress` to a job that runs."""
        return cls(**vars(job), progress=progress)


@dataclass(frozen=True, kw_only=True)
class Worker:
    """Worker says what each job's worker may take; 0 and "" are no limit."""

    cpus: int
    memory: str
    nice: int
    limits: str
    """In words; empty where there are none."""


@dataclass(frozen=True, kw_only=True)
class Power:
    """Power says what the machine's battery, sleep and heat do to jobs; null is what the system does not tell."""

    kept_awake: str = ""
    """How the machine is kept from falling asleep while a job runs."""
    battery_percent: float | None = None
    plugged: bool | None = None
    slept_s: float | None = None
    """For how many seconds the machine has slept since it was started."""
    thermal_pressure: str | None = None
    """How much heat slows it: a word of macOS's; empty for not at all."""
    memory_pressure: str | None = None
    """How short of memory it is: high, critical; empty for not at all."""


@dataclass(frozen=True, kw_only=True)
class PageHealth:
    """PageHealth says where the daemon has the page, or its clients, served."""

    address: str | None
    """Where a browser on this machine finds it; null while it is not served."""
    pid: int | None
    """Its process."""
    error: str | None
    """Why it is not served, or why it last was not."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """Status says what the daemon does now."""

    pid: int
    version: str
    started_at: float
    """Unix time."""
    uptime_s: float
    home: str
    home_id: str = ""
    """The id of the home that the daemon serves."""
    home_folder: tuple[int, int] | None = None
    """Device and inode of the home's folder: a copy of the home has others."""
    notes: list[str] = field(default_factory=list)
    """What this daemon found of its home when it started that its user should know."""
    socket: str
    stopping: bool
    active: list[ActiveJob]
    jobs: dict[State, int]
    """How many are in each state."""
    queue: Queue
    watcher: WatchHealth
    catalog: CatalogHealth
    worker: Worker
    settings: SettingsInForce = field(default_factory=SettingsInForce)
    versions: dict[str, str] = field(default_factory=dict)
    """The versions that were installed when the daemon started, of prefd and the model libraries."""
    memory_rss_bytes: int
    power: Power = field(default_factory=Power)
    page: PageHealth | None = None
    """The page that this daemon serves; null where it was not asked to."""
    clients: PageHealth | None = None
    """The server of Tinker clients that this daemon has running; null where it was not asked to."""

    def to_json(self) -> dict[str, Any]:
        """Returns every field, as plain JSON values."""
        return asdict(self)
