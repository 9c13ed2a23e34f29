"""The table of states, and that it is the only one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import prefd.daemon
from prefd.daemon.jobs.states import COLOURS, ENDED, FAILURES, RUNNING, STATE_OF, STATES, TABLE, UNENDED, State
from prefd.daemon.runs.phases import PHASES, EndState


def test_every_state_has_its_row_and_leads_to_others_of_the_table() -> None:
    assert get_args(State) == STATES
    assert {after for facts in TABLE.values() for after in facts.may_become} == set(STATES)


def test_a_job_ends_done_failed_or_cancelled() -> None:
    assert {"done", "failed", "cancelled"} == ENDED == set(get_args(EndState))
    assert FAILURES.keys() == ENDED - {"done"}
    assert UNENDED == ("queued", "precomputing", "training", "live", "paused")


def test_each_phase_runs_in_one_state() -> None:
    assert tuple(STATE_OF) == PHASES
    assert RUNNING == ("precomputing", "training", "live")


def test_a_terminal_knows_every_states_colour() -> None:
    from rich.style import Style

    assert all(Style.parse(colour).color for colour in COLOURS.values())


def test_no_other_module_lists_states() -> None:
    word = f"""["']({"|".join(STATES)})["']"""
    several = re.compile(rf"{word}(,| or| and)?\s+{word}|{word}:[^\n]*\n\s*{word}:")
    modules = [path for root in prefd.daemon.__path__ for path in Path(root).rglob("*.py")]
    assert len(modules) > 100
    listing = {path.name for path in modules if several.search(path.read_text(encoding="utf-8"))}
    assert listing == {"states.py", "phases.py"}  # two phases have the names of their states
