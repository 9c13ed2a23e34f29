"""A bounded share of the daemon's fault tests; `make faults` runs all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.daemon import run
from support.random_operations import wrong

pytestmark = pytest.mark.slow


@pytest.mark.thorough  # the bursts and steps below have stand-in workers, training/test_run.py the twin
def test_killed_while_it_trains_each_job_ends_as_its_unbroken_twin(tmp_path: Path) -> None:
    found = run("kills", tmp_path / "run", 1, seed=88)  # daemon and worker, past a checkpoint
    assert (found["counts"]["kills"], sum(found["seen"].values())) == (1, 1)
    assert wrong(found["counts"]) == {}


def test_killed_during_a_burst_of_files_none_is_lost_or_run_twice_or_half_read(tmp_path: Path) -> None:
    found = run("burst", tmp_path / "run", 1)
    assert (found["counts"]["kills"], found["counts"]["specs"]) == (1, 26)
    assert wrong(found["counts"]) == {}


def test_killed_before_any_of_its_steps_the_next_daemon_takes_over(tmp_path: Path) -> None:
    found = run("steps", tmp_path / "run", 3)
    assert found["counts"]["different ones"] > 40
    assert 2 <= found["counts"]["kills"] <= 3
    assert wrong(found["counts"]) == {}


def test_of_daemons_started_at_once_on_what_a_killed_one_left_one_serves(tmp_path: Path) -> None:
    found = run("rivals", tmp_path / "run", 1)
    assert (found["counts"]["rounds"], found["counts"]["refused"]) == (1, 3)
    assert wrong(found["counts"]) == {}
