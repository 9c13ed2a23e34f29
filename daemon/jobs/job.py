"""Job is one row of the job table; Event and Change are lines of a job's history."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from prefd.daemon.errors import Exit, PrefdError
from prefd.daemon.jobs.states import ENDED, State

if TYPE_CHECKING:  # it brings asyncio and psutil, which listing jobs does not need
    from prefd.daemon.machine.processes import ProcessId

CANCELLED_WAITING = "cancelled before it started"
CANCELLED_PAUSED = "cancelled while it waited to go on"
CANCELLED_RUNNING = "cancelled while it ran"
PAUSED = "paused by you"
QUEUE_PAUSED = "the queue is paused by you"
NOT_BEFORE = "not before "
"""How `waiting` begins where a job waits for a moment, which follows."""
RESUMED = "resumed by you"
RETRIED = "retried by you: it goes on from its last checkpoint"
RETRIED_FRESH = "retried by you: it begins from nothing"
RETRIED_WITH = "retried with what it is to run after"


LIVE_SOURCE = re.compile(r"live:([0-9a-f]{32}):(?:train|sample):[0-9]+")
"""The source of a model that a client of `prefd serve` holds, with the id of the client's session."""


class JobNotFound(PrefdError, LookupError):
    """No job has this id."""

    exit_code = Exit.NOT_FOUND
    http_status = 404


class IllegalTransition(PrefdError, ValueError):
    """A job cannot go from the one state to the other."""

    http_status = 409


class Brief(NamedTuple):
    """Brief holds what is needed of a job to choose it and to name it: a list of ten thousand is read in a moment."""

    id: int
    name: str
    state: State
    group: str
    owner: str
    attempt: int
    pause_requested: bool
    waiting: str
    """Why it is queued and does not run, in words."""
    finished_at: float | None
    """Unix time."""
    bytes: int | None
    """What its folder takes on disk, as it was last measured; None before that."""
    checkpoints: int | None
    """What its checkpoints take of that."""
    fused: int | None
    """What its fused models take of that."""
    ulid: str = ""
    """What tells the job from those of other homes; empty for one of an earlier version."""

    @property
    def ended(self) -> bool:
        """Say whether the job is done, failed or cancelled."""
        return self.state in ENDED

    @property
    def pausing(self) -> bool:
        """Say whether it is paused, or is about to be."""
        return self.state == "paused" or bool(self.pause_requested)


class Event(NamedTuple):
    """Event is a line of one job's history."""

    at: float
    """Unix time."""
    state: State
    reason: str


class Change(NamedTuple):
    """Change is a line of the history of all jobs, with the job it belongs to."""

    number: int
    job_id: int
    name: str
    owner: str
    at: float
    """Unix time."""
    state: State | Literal["removed"]
    reason: str
    newest: bool
    """Whether nothing has happened to the job since."""


@dataclass(frozen=True)
class Job:
    """Job is one job, as the table held it when it was read."""

    id: int
    name: str
    state: State
    reason: str
    """In words; the first line is enough for a table."""
    source: str
    """The claimed file's name in `jobs/accepted/`, or the path given to `prefd run`."""
    owner: str
    """`daemon`, or `run:<pid>` for a job of `prefd run`."""
    created_at: float
    started_at: float | None
    finished_at: float | None
    phase_seconds: Mapping[str, float]
    """Seconds spent in `precompute`, in `training` and in `live`."""
    worker_pid: int | None
    worker_started: float | None
    """In seconds since `boot`, where the system counts so, else Unix time."""
    cancel_requested: bool
    pause_requested: bool
    attempt: int
    """1, and one more for each retry."""
    fresh: bool
    """Whether the job is to begin from nothing: the files of its earlier attempts are to be set aside first."""
    priority: int
    """The higher goes first."""
    not_before: float | None
    """Unix time."""
    after: tuple[int, ...]
    """The jobs that must be done before it."""
    waiting: str
    """Why it is queued and does not run, in words; empty where it is only not its turn."""
    group: str
    """Jobs that belong together: a spec's `group`, or a sweep's name."""
    description: str
    """What a sweep sets in this job, in words."""
    boot: str
    owner_started: float | None
    """When the process of `prefd run` started, as `worker_started`."""
    crashes: int
    """How often its worker has crashed without getting any further."""
    ulid: str
    """The job's identity, which its folder carries too; another home may give its number to another job."""
    origin: str
    """The id of the home that its folder was copied in from; empty for a job of this home."""
    bytes: int | None
    """What its folder takes on disk, as it was measured when the job last ended; null before that."""

    @property
    def ended(self) -> bool:
        """Say whether the job is done, failed or cancelled."""
        return self.state in ENDED

    @property
    def pausing(self) -> bool:
        """Say whether it is paused, or is about to be."""
        return self.state == "paused" or self.pause_requested

    @property
    def is_clients(self) -> bool:
        """Return whether it is a model that a client of `prefd serve` holds."""
        return LIVE_SOURCE.fullmatch(self.source) is not None

    @property
    def place(self) -> str:
        """Names what it takes of `parallel` while it runs: the models of one client's session share a place, for one may wait for another."""
        session = LIVE_SOURCE.fullmatch(self.source)
        return f"session {session[1]}" if session else f"job {self.id}"

    @property
    def worker_process(self) -> ProcessId | None:
        """Return the process that works on the job; None where none was noted."""
        from prefd.daemon.machine.processes import ProcessId

        if self.worker_pid is None or self.worker_started is None:
            return None
        return ProcessId(self.worker_pid, self.worker_started, self.boot)

    @property
    def owner_lives(self) -> bool:
        """Say whether the process of `prefd run` that owns the job still runs."""
        from prefd.daemon.machine.processes import ProcessId

        pid = self.owner.removeprefix("run:")
        if not pid.isdecimal() or len(pid) > 9:
            return False
        if self.owner_started is not None:
            return ProcessId(int(pid), self.owner_started, self.boot).is_alive()
        process = ProcessId.find(int(pid))  # a job of an earlier version
        return process is not None and process.is_alive()

    def to_json(self) -> dict[str, Any]:
        """Return every field, as `--json` prints it."""
        return dict(vars(self))  # asdict copies each value, which takes as long as all the rest of `prefd jobs --json`


class JobSize(NamedTuple):
    """JobSize is what the folder of one job takes on disk."""

    job: int
    bytes: int


class SizesOnDisk(NamedTuple):
    """SizesOnDisk says what the folders of ended jobs take on disk, as far as they were measured."""

    bytes: int
    """Of all of them."""
    largest: Sequence[JobSize]
    """Those that take the most."""
