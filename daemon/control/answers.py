"""The answers to what a command asks the daemon for, and what reads each of them.

A newer daemon may say more, which is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from prefd.daemon.control.control_error import ControlError
from prefd.daemon.control.records import RecordError, read_record
from prefd.daemon.control.status import Queue, Status
from prefd.daemon.jobs.event_kinds import KINDS, EventData
from prefd.daemon.jobs.job import Job

if TYPE_CHECKING:
    from prefd.daemon.runs.pair_answers import PairsState

T = TypeVar("T")


@dataclass(frozen=True)
class Queued:
    """Queued holds the jobs that a spec has become."""

    jobs: list[Job]
    """The spec's job, or those of its sweep."""


@dataclass(frozen=True)
class Acted:
    """Acted holds the queue and its jobs after an action."""

    queue: Queue
    jobs: list[Job]
    """Those acted on."""

    def to_json(self) -> dict[str, Any]:
        """Returns every field, as plain JSON values."""
        return {"queue": asdict(self.queue), "jobs": [job.to_json() for job in self.jobs]}


@dataclass(frozen=True)
class Edited:
    """Edited holds the jobs of which settings were changed, as they are now."""

    jobs: list[Job]
    """In the order in which they were named."""


def parse_status(document: Mapping[str, Any]) -> Status:
    """Parses a status. Raises ControlError for one of another version of the daemon that this one cannot read."""
    return _parse(Status, document, "status")


def parse_job(document: Mapping[str, Any]) -> Job:
    """Parses a job that was acted on. Raises ControlError as `parse_status` does."""
    return _parse(Job, document, "answer")


def parse_acted(document: Mapping[str, Any]) -> Acted:
    """Parses the queue and the jobs that were acted on. Raises ControlError as `parse_status` does."""
    return _parse(Acted, document, "answer")


def parse_queued(document: Mapping[str, Any]) -> Queued:
    """Parses the jobs that a spec has become. Raises ControlError as `parse_status` does."""
    return _parse(Queued, document, "answer")


def parse_edited(document: Mapping[str, Any]) -> list[Job]:
    """Parses the jobs of which settings were changed. Raises ControlError as `parse_status` does."""
    return _parse(Edited, document, "answer").jobs


def parse_pairs_state(document: Mapping[str, Any]) -> PairsState:
    """Parses how the scoring of a job's pairs stands. Raises ControlError as `parse_status` does."""
    from pydantic import ValidationError

    from prefd.daemon.runs.pair_answers import PairsState

    try:
        return PairsState.model_validate(document)
    except ValidationError as error:
        raise _make_version_error("answer", ".".join(map(str, error.errors()[0]["loc"]))) from None


def parse_event(kind: str, document: Mapping[str, Any]) -> EventData | None:
    """Parses an event; None for a kind that this prefd does not know. Raises ControlError as `parse_status` does."""
    event = KINDS.get(kind)
    return None if event is None else _parse(event, document, f"{kind} event")


def _parse(kind: type[T], document: Mapping[str, Any], subject: str) -> T:
    try:
        return read_record(kind, document)
    except RecordError as error:
        raise _make_version_error(subject, error.place) from None


def _make_version_error(subject: str, place: str) -> ControlError:
    return ControlError(
        502,
        f"the daemon's {subject} has no {place} that this prefd can read: restart the daemon, it is of another version",
    )
