"""A bounded share of the daemon's fault tests; `make faults` runs all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.daemon import run
from support.random_operations import wrong

pytestmark = pytest.mark.slow


@pytest.mark.thorough  # the bursts and steps below have stand-in workers, training/test_run.py the twin
def test_killed_while_it_trains_each_job_ends_as_its_unbroken_twin(tmp_path: Path) -> None:
    result = run("kills", tmp_path / "run", 1, seed=88)  # daemon and worker, past a checkpoint
    assert (result["counts"]["kills"], sum(result["seen"].values())) == (1, 1)
    assert wrong(result["counts"]) == {}


@pytest.mark.thorough  # whole/test_drop_to_job.py has a burst, the steps below a kill at the claim of a file
def test_killed_during_a_burst_of_files_none_is_lost_or_run_twice_or_half_read(tmp_path: Path) -> None:
    result = run("burst", tmp_path / "run", 1)
    assert (result["counts"]["kills"], result["counts"]["specs"]) == (1, 26)
    assert wrong(result["counts"]) == {}


def test_killed_before_any_of_its_steps_the_next_daemon_takes_over(tmp_path: Path) -> None:
    result = run("steps", tmp_path / "run", 3)
    assert result["counts"]["different ones"] > 40
    assert 2 <= result["counts"]["kills"] <= 3
    assert wrong(result["counts"]) == {}


def test_of_daemons_started_at_once_on_what_a_killed_one_left_one_serves(tmp_path: Path) -> None:
    result = run("rivals", tmp_path / "run", 1)
    assert (result["counts"]["rounds"], result["counts"]["refused"]) == (1, 3)
    assert wrong(result["counts"]) == {}
