"""`prefd cancel`, `pause`, `resume`, `retry`, on homes made by hand and with no daemon running."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.identity import read_identity
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.rebuild import open_table
from prefd.daemon.jobs.table import JobTable
from support import homes
from support.homes import invoke


def states(home: Home) -> list[str]:
    with JobTable.open_readonly(home.database) as jobs:
        return [job.state for job in jobs.list()]


def test_cancel_without_a_daemon_ends_a_queued_job(four_jobs: Home) -> None:
    result = invoke(four_jobs, "cancel", 4)
    assert result.exit_code == Exit.OK
    assert result.stdout == "job 4 (next) is cancelled\n"
    with JobTable.open_readonly(four_jobs.database) as jobs:
        assert jobs.get(4).state == "cancelled"


def test_cancel_leaves_an_ended_job_alone(four_jobs: Home) -> None:
    result = invoke(four_jobs, "cancel", 1)
    assert result.exit_code == Exit.OK
    assert "already ended: done" in result.stderr


def test_cancel_asks_a_running_job_to_stop(four_jobs: Home) -> None:
    assert invoke(four_jobs, "cancel", 3).stdout == "job 3 (half-way) is training and will stop\n"
    with JobTable.open_readonly(four_jobs.database) as jobs:
        assert jobs.get(3).cancel_requested


def test_cancel_cancels_none_when_one_is_not_there(four_jobs: Home) -> None:
    result = invoke(four_jobs, "cancel", 4, 99)
    assert result.exit_code == Exit.NOT_FOUND
    with JobTable.open_readonly(four_jobs.database) as jobs:
        assert jobs.get(4).state == "queued"


def test_pause_without_a_daemon_keeps_a_queued_job_from_starting(four_jobs: Home) -> None:
    assert invoke(four_jobs, "pause", 4).stdout == "job 4 (next) is paused\n"
    assert states(four_jobs)[3] == "paused"
    assert "paused by you" in invoke(four_jobs, "jobs", "--state", "paused").stdout
    assert "was paused already" in invoke(four_jobs, "pause", 4).stderr
    assert invoke(four_jobs, "resume", 4).stdout == "job 4 (next) goes on from where it stood\n"
    assert states(four_jobs)[3] == "queued"
    assert "was not paused: it is queued" in invoke(four_jobs, "resume", 4).stderr


def test_pause_asks_a_running_job_to_save_its_state(four_jobs: Home) -> None:
    message = "job 3 (half-way) is training, and is paused as soon as its state is saved\n"
    assert invoke(four_jobs, "pause", 3).stdout == message
    assert json.loads(invoke(four_jobs, "show", 3, "--json").stdout)["job"]["pause_requested"]
    assert invoke(four_jobs, "resume", 3).stdout == "job 3 (half-way) goes on from where it stood\n"
    assert not json.loads(invoke(four_jobs, "show", 3, "--json").stdout)["job"]["pause_requested"]


def test_pause_and_resume_leave_an_ended_job_alone(four_jobs: Home) -> None:
    assert "had already ended: done" in invoke(four_jobs, "pause", 1).stderr
    assert "has ended: failed" in invoke(four_jobs, "resume", 2).stderr
    assert states(four_jobs) == ["done", "failed", "training", "queued"]


def test_pause_pauses_none_when_one_is_not_there(four_jobs: Home) -> None:
    assert invoke(four_jobs, "pause", 4, 99).exit_code == Exit.NOT_FOUND
    assert states(four_jobs)[3] == "queued"


def test_a_job_of_prefd_run_is_not_the_queues_to_pause(home: Path) -> None:
    there = Home(home)
    there.create()
    with JobTable.open(there.database) as jobs:
        jobs.transition(jobs.add(homes.make_spec(), "a.yaml", owner="run:7").id, "training")
    result = invoke(there, "pause", 1)
    assert result.exit_code == Exit.FAILED
    assert "end it there, with Ctrl-C" in result.stderr


def test_pause_without_ids_stops_the_queue_and_says_what_goes_on(four_jobs: Home) -> None:
    result = invoke(four_jobs, "pause")
    assert result.stdout == "the queue is paused: no job starts until `prefd resume`\n"
    assert "job 3 (half-way) is training and goes on to its end" in result.stderr
    assert states(four_jobs) == ["done", "failed", "training", "queued"]
    status = invoke(four_jobs, "status")
    assert "paused by you since" in status.stdout
    assert json.loads(invoke(four_jobs, "status", "--json").stdout)["queue"]["paused_at"] > 0
    assert invoke(four_jobs, "resume").stdout == "jobs start again\n"
    assert "paused by you" not in invoke(four_jobs, "status").stdout


def test_pause_all_takes_the_running_jobs_along_and_resume_all_brings_them_back(four_jobs: Home) -> None:
    assert "job 3 (half-way) is training, and is paused as soon" in invoke(four_jobs, "pause", "--all").stdout
    invoke(four_jobs, "pause", 4)
    result = invoke(four_jobs, "resume")
    assert "still paused: 3, 4; `prefd resume --all` resumes these too" in result.stderr
    document = json.loads(invoke(four_jobs, "resume", "--all", "--json").stdout)
    assert [job["id"] for job in document["jobs"]] == [3, 4]
    assert document["queue"]["paused_at"] is None
    assert states(four_jobs) == ["done", "failed", "training", "queued"]


def test_ids_and_all_are_not_given_together(four_jobs: Home) -> None:
    for command in ("pause", "resume"):
        assert invoke(four_jobs, command, 3, "--all").exit_code == Exit.USAGE


def test_retry_queues_a_failed_job_again_under_its_number(four_jobs: Home) -> None:
    result = invoke(four_jobs, "retry", 2)
    assert (result.exit_code, result.stdout) == (Exit.OK, "job 2 (all-bad) is queued again, attempt 2\n")
    assert states(four_jobs)[1] == "queued"
    shown = invoke(four_jobs, "show", 2).stdout
    assert "retried by you: it goes on from its last checkpoint" in shown
    assert "no row of /data/pairs.jsonl can be used" in shown, "the history has the failure"


def test_retry_of_a_done_job_wants_fresh(four_jobs: Home) -> None:
    refused = invoke(four_jobs, "retry", 1)
    assert refused.exit_code == Exit.FAILED
    assert "job 1 is done: there is nothing to go on with; --fresh trains it anew" in refused.stderr
    document = json.loads(invoke(four_jobs, "retry", 1, "--fresh", "--json").stdout)
    assert [(job["id"], job["state"], job["fresh"]) for job in document["jobs"]] == [(1, "queued", True)]


def test_retry_of_what_has_not_ended_or_is_not_there(four_jobs: Home) -> None:
    assert invoke(four_jobs, "retry", 3).exit_code == Exit.FAILED
    assert invoke(four_jobs, "retry", 99).exit_code == Exit.NOT_FOUND


def test_retry_of_a_range_takes_what_can_be_retried_and_tells_the_others(four_jobs: Home) -> None:
    result = invoke(four_jobs, "retry", "1-4")
    assert (result.exit_code, result.stdout) == (Exit.OK, "job 2 (all-bad) is queued again, attempt 2\n")
    assert result.stderr.splitlines() == [
        "job 1: done, and left as it is",
        "job 3: training, and left as it is",
        "job 4: queued, and left as it is",
    ]
    assert invoke(four_jobs, "retry", "3-4").stderr.endswith("there is no job to retry\n")
    assert invoke(four_jobs, "retry", "1-4", "--fresh").stdout == "job 1 (smol-ipo) is queued again, attempt 2\n"
    assert states(four_jobs) == ["queued", "queued", "training", "queued"]


@pytest.fixture
def copy(four_jobs: Home, tmp_path: Path) -> Home:
    """A copy of the home with four jobs, as a backup restores it: without `run/`, and before its daemon was ever started."""
    shutil.copytree(four_jobs.root, tmp_path / "copy", symlinks=True)
    shutil.rmtree(tmp_path / "copy" / "run")
    return Home(tmp_path / "copy")


def test_what_is_asked_of_a_copy_before_its_first_start_still_counts_after_it(copy: Home) -> None:
    assert invoke(copy, "resume", "--all").exit_code == Exit.OK
    assert states(copy) == ["done", "failed", "queued", "queued"]
    with open_table(copy) as table:  # as its daemon does when it starts
        assert table.notes == []
    assert states(copy) == ["done", "failed", "queued", "queued"]


def test_what_nobody_asked_for_stays_held_in_a_copy(copy: Home) -> None:
    assert invoke(copy, "cancel", 4).exit_code == Exit.OK
    assert states(copy) == ["done", "failed", "paused", "cancelled"]


def test_what_is_submitted_to_a_copy_before_its_first_start_is_its_own(
    copy: Home, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    spec = homes.write_spec(tmp_path / "a.json", tiny_model, pairs_file)
    assert invoke(copy, "submit", spec).exit_code == Exit.OK
    identity = read_identity(copy.root)
    assert identity is not None
    assert (identity.settled, identity.specs) == (True, {})


def test_retry_names_what_it_takes_along(four_jobs: Home) -> None:
    with JobTable.open(four_jobs.database) as jobs:
        child = jobs.add(homes.make_spec(name="child", after=[2]), "child.json")
        jobs.transition(child.id, "failed", "job 2, which it was to run after, failed")
    assert "job 5 would fail again" in invoke(four_jobs, "retry", 5).stderr
    assert invoke(four_jobs, "retry", 2).stdout == (
        "job 2 (all-bad) is queued again, attempt 2\n"
        "job 5 (child) is queued again, attempt 2, since it failed for one of these\n"
    )
