"""A run folder that was removed by hand is said to be gone wherever something of it would be shown."""

from __future__ import annotations

import json
import shutil

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.lost_folder import find_lost_folder
from prefd.daemon.jobs.rebuild import open_table
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.runs.run_folder import RunDir
from support import homes
from support.homes import invoke


@pytest.fixture
def lost(ready_home: Home) -> Home:
    homes.add_done(ready_home, name="one")
    shutil.rmtree(ready_home.job(1))
    return ready_home


@pytest.mark.parametrize("command", ["show", "logs", "metrics", "compare", "wait"])
def test_each_command_that_shows_something_of_it_says_so(lost: Home, command: str) -> None:
    result = invoke(lost, command, 1)
    assert f"{lost.job(1)} is gone" in result.output
    assert "yet" not in result.output
    assert "trained no step" not in result.output


def test_json_says_so_too(lost: Home) -> None:
    assert json.loads(invoke(lost, "show", 1, "--json").stdout)["run_gone"] is True


def test_a_curve_cannot_be_drawn_and_the_reason_is_told(lost: Home) -> None:
    assert (
        f"has no metrics to draw any more: its folder {lost.job(1)} is gone"
        in invoke(lost, "metrics", 1, "--plot", "x.png").stderr
    )


def test_a_retry_says_that_it_begins_from_nothing(lost: Home) -> None:
    result = invoke(lost, "retry", 1, "--fresh")
    assert f"job 1: its folder {lost.job(1)} is gone, so it begins from nothing" in result.stderr


def test_it_is_still_said_when_the_daemon_has_written_the_record_again(lost: Home) -> None:
    with open_table(lost) as table:
        assert find_lost_folder(table.get(1), RunDir(lost.job(1))) == f"its folder {lost.job(1)} is gone"


def test_a_job_that_has_not_begun_has_lost_nothing(ready_home: Home) -> None:
    homes.add_queued(ready_home)
    with JobTable.open_readonly(ready_home.database) as table:
        assert find_lost_folder(table.get(1), RunDir(ready_home.job(1))) == ""


def test_a_job_of_which_only_the_adapter_was_removed_says_that(ready_home: Home) -> None:
    homes.add_done(ready_home, name="one")
    (ready_home.job(1) / "adapter").rmdir()
    assert f"{ready_home.job(1)}/adapter is gone" in invoke(ready_home, "show", 1).stdout
