"""Defines the kinds of events in the stream, and what each says of a job.

A new kind is a class here and a place in `KINDS`, beside what makes it: `Follower` does of history and metrics, the stream
itself of progress, the queue and the daemon. The OpenAPI document, the documentation and the names in the stream are made from these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from prefd.daemon.jobs.states import State
from prefd.daemon.runs.run_folder import Progress


@dataclass(frozen=True)
class JobEvent:
    """`event: job`: a job has come into a state, or was edited in it."""

    kind: ClassVar[str] = "job"
    job: int
    name: str
    state: State
    reason: str
    at: float
    """Unix time."""


@dataclass(frozen=True)
class RemovedEvent:
    """`event: removed`: a job has been removed; nothing more is told of it."""

    kind: ClassVar[str] = "removed"
    job: int
    name: str
    reason: str
    at: float
    """Unix time."""


@dataclass(frozen=True)
class MetricsEvent:
    """`event: metrics`: a job that trains has reported."""

    kind: ClassVar[str] = "metrics"
    job: int
    line: int
    """Its number in the run's metrics.jsonl."""
    values: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ProgressEvent(Progress):
    """`event: progress`: how far a running job is. Only the newest is told, without an id."""

    kind: ClassVar[str] = "progress"
    job: int


@dataclass(frozen=True)
class QueueEvent:
    """`event: queue`: whether the queue is paused. Only the newest is told, without an id, and at once to who begins to listen."""

    kind: ClassVar[str] = "queue"
    paused_at: float | None
    """Since when (Unix time) no job is started; null while they are."""


@dataclass(frozen=True)
class DaemonEvent:
    """`event: daemon`: which daemon serves the home, and how many jobs there are. Told as `queue` is."""

    kind: ClassVar[str] = "daemon"
    pid: int | None
    """null while none runs: then only `prefd web` tells it."""
    started_at: float | None
    """Unix time."""
    jobs: Mapping[State, int]
    """How many are in each state."""


@dataclass(frozen=True)
class ResetEvent:
    """`event: reset`: the id to go on from is of another database; all events follow."""

    kind: ClassVar[str] = "reset"
    reason: str


EventData = JobEvent | RemovedEvent | MetricsEvent | ProgressEvent | QueueEvent | DaemonEvent | ResetEvent
KINDS: Mapping[str, type[EventData]] = {
    each.kind: each
    for each in (JobEvent, RemovedEvent, MetricsEvent, ProgressEvent, QueueEvent, DaemonEvent, ResetEvent)
}
