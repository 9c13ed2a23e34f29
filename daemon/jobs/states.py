"""TABLE lists the states of a job: which states each may become, which phase runs in it, and its colour.

A new state is a word in `State` and a row in `TABLE`; all else that lists states is made from these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from prefd.daemon.runs.phases import Phase

State = Literal["queued", "precomputing", "training", "live", "paused", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class StateFacts:
    """StateFacts holds the facts about one state."""

    may_become: tuple[State, ...]
    """A state that may become no other is an end; only `prefd retry` queues such a job again."""
    colour: str
    """On a terminal, as rich names it."""
    phase: Phase | None = None
    """The phase whose worker runs in this state."""
    failure: str = ""
    """What happened to a job that ended in this state without success, as a job that was to run after it reports it."""


TABLE: Mapping[State, StateFacts] = {
    "queued": StateFacts(("precomputing", "training", "live", "paused", "failed", "cancelled"), "cyan"),
    "precomputing": StateFacts(
        ("queued", "training", "paused", "done", "failed", "cancelled"), "yellow", phase="precompute"
    ),
    "training": StateFacts(("queued", "paused", "done", "failed", "cancelled"), "yellow", phase="training"),
    "live": StateFacts(("queued", "paused", "done", "failed", "cancelled"), "yellow", phase="live"),
    "paused": StateFacts(("queued", "cancelled"), "magenta"),
    "done": StateFacts((), "green"),
    "failed": StateFacts((), "red", failure="failed"),
    "cancelled": StateFacts((), "magenta", failure="was cancelled"),
}

STATES: tuple[State, ...] = tuple(TABLE)
ENDED: frozenset[State] = frozenset(state for state, facts in TABLE.items() if not facts.may_become)
UNENDED: tuple[State, ...] = tuple(state for state in TABLE if state not in ENDED)
RUNNING: tuple[State, ...] = tuple(state for state, facts in TABLE.items() if facts.phase is not None)
WAITING: tuple[State, ...] = tuple(state for state in UNENDED if state not in RUNNING)
FAILURES: Mapping[State, str] = {state: facts.failure for state, facts in TABLE.items() if facts.failure}
COLOURS: Mapping[str, str] = {state: facts.colour for state, facts in TABLE.items()}
PHASE_OF: Mapping[str, Phase] = {state: facts.phase for state, facts in TABLE.items() if facts.phase is not None}
STATE_OF: Mapping[Phase, State] = {facts.phase: state for state, facts in TABLE.items() if facts.phase is not None}
