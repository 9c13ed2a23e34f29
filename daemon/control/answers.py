"""Parses what the daemon answers into the types that the commands read.

A newer daemon may say more, which is passed over. pydantic is imported when there is an answer to parse: it takes longer
than most commands.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from prefd.daemon.control.control_error import ControlError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from prefd.daemon.control.api.responses import Acted, Queued
    from prefd.daemon.control.status import Status
    from prefd.daemon.jobs.job import Job
    from prefd.daemon.runs.pair_answers import PairsState

T = TypeVar("T")

_PARSERS: dict[type, TypeAdapter[Any]] = {}
_PARSERS_LOCK = threading.Lock()


def parse_status(document: Mapping[str, Any]) -> Status:
    """Parses a status. Raises ControlError for one of another version of the daemon that this one cannot read."""
    from prefd.daemon.control.status import Status

    return _parse(Status, document, "status")


def parse_job(document: Mapping[str, Any]) -> Job:
    """Parses a job that was acted on. Raises ControlError as `parse_status` does."""
    from prefd.daemon.jobs.job import Job

    return _parse(Job, document, "answer")


def parse_acted(document: Mapping[str, Any]) -> Acted:
    """Parses the queue and the jobs that were acted on. Raises ControlError as `parse_status` does."""
    from prefd.daemon.control.api.responses import Acted

    return _parse(Acted, document, "answer")


def parse_queued(document: Mapping[str, Any]) -> Queued:
    """Parses the jobs that a spec has become. Raises ControlError as `parse_status` does."""
    from prefd.daemon.control.api.responses import Queued

    return _parse(Queued, document, "answer")


def parse_edited(document: Mapping[str, Any]) -> list[Job]:
    """Parses the jobs of which settings were changed. Raises ControlError as `parse_status` does."""
    from prefd.daemon.control.api.responses import Edited

    return _parse(Edited, document, "answer").jobs


def parse_pairs_state(document: Mapping[str, Any]) -> PairsState:
    """Parses how the scoring of a job's pairs stands. Raises ControlError as `parse_status` does."""
    from prefd.daemon.runs.pair_answers import PairsState

    return _parse(PairsState, document, "answer")


def _make_parser(kind: type[T]) -> TypeAdapter[T]:
    """Make the parser of a type, once: it reads the type's source, and threads may not do so at the same time."""
    from pydantic import TypeAdapter

    with _PARSERS_LOCK:
        if kind not in _PARSERS:
            _PARSERS[kind] = TypeAdapter(kind)
            _PARSERS[kind].rebuild()  # now, and not when a document is read
        return _PARSERS[kind]


def _parse(kind: type[T], document: Mapping[str, Any], subject: str) -> T:
    from pydantic import ValidationError

    try:
        parsed: T = _make_parser(kind).validate_python(document)
        return parsed
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise ControlError(
            502,
            f"the daemon's {subject} has no {place} that this prefd can read: restart the daemon, it is of another version",
        ) from None
