"""`prefd wait` for several jobs, for the first of several, and no longer than it is told."""

from __future__ import annotations

import json

import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from prefd.daemon.home.lock import hold_lock
from prefd.daemon.jobs.table import JobTable
from support import homes
from support.homes import invoke


@pytest.fixture
def several(ready_home: Home) -> Home:
    """1 done, 2 failed, 3 queued; 2 and 3 of group `s`."""
    homes.add_done(ready_home, name="done")
    homes.add_failed(ready_home, name="bad", group="s")
    homes.add_queued(ready_home, name="next", group="s")
    return ready_home


def test_ranges_and_lists_are_told_of_in_the_order_in_which_they_were_named(several: Home) -> None:
    result = invoke(several, "wait", "2,1")
    assert result.exit_code == Exit.JOB_FAILED
    assert [line.split()[1] for line in result.stdout.splitlines()] == ["2", "1"]


def test_the_first_to_end_is_enough_with_any(several: Home) -> None:
    result = invoke(several, "wait", "--any", 3, 1, 2)
    assert (result.exit_code, result.stdout.splitlines()) == (Exit.OK, ["job 1 (done) done"])
    document = json.loads(invoke(several, "wait", "--any", 3, 1, 2, "--json").stdout)
    assert ([job["id"] for job in document["jobs"]], document["waiting"]) == ([1], [3, 2])


def test_the_time_is_over_and_who_still_runs_is_told(several: Home) -> None:
    with hold_lock(several):  # somebody is there to work on them
        result = invoke(several, "wait", "1-3", "--timeout", "0s")
        assert result.exit_code == Exit.FAILED
        assert "after 0.0s: job 3: not ended" in result.stderr
        assert result.stdout.splitlines()[0] == "job 1 (done) done"
        document = json.loads(
            invoke(several, "wait", "--group", "s", "--state", "queued", "--timeout", "0s", "--json").stdout
        )
    assert (document["jobs"], document["waiting"]) == ([], [3])


def test_a_group_is_waited_for_as_far_as_it_has_not_ended(several: Home) -> None:
    assert "there is no job to wait for" in invoke(several, "wait", "--state", "failed").stderr
    assert invoke(several, "wait", "--group", "s").exit_code == Exit.NO_DAEMON
    assert invoke(several, "wait", "--group", "z").exit_code == Exit.NOT_FOUND


def test_a_held_job_is_told_of_with_the_remedy(several: Home) -> None:
    with JobTable.open(several.database) as table:
        table.set_waiting_reasons({3: "held: job 2, which it is to run after, was cancelled: `prefd retry 2`"})
    with hold_lock(several):
        result = invoke(several, "wait", 3, "--timeout", "0s")
    assert "job 3 (next) is held: job 2, which it is to run after, was cancelled: `prefd retry 2`" in result.stderr
