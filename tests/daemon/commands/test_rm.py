"""`prefd rm`, and the ways in which jobs are named to a command, on homes made by hand and with no daemon running."""

from __future__ import annotations

import json
import shutil

import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from prefd.daemon.home.lock import hold_lock
from prefd.daemon.jobs.table import JobTable
from support import homes
from support.homes import invoke


def names(home: Home) -> list[str]:
    with JobTable.open_readonly(home.database) as jobs:
        return [job.name for job in jobs.list()]


@pytest.fixture
def sweep(ready_home: Home) -> Home:
    """Six jobs: 1 done, 2 and 3 failed, 4 running, 5 and 6 queued; 2, 3 and 5 of group `s`."""
    homes.add_done(ready_home, name="done")
    homes.add_failed(ready_home, name="bad", group="s")
    homes.add_failed(ready_home, name="worse", group="s")
    homes.add_running(ready_home, name="runs")
    homes.add_queued(ready_home, name="next", group="s")
    homes.add_queued(ready_home, name="last")
    return ready_home


def test_a_job_is_removed_with_its_folder_and_what_it_took_is_told(sweep: Home) -> None:
    result = invoke(sweep, "rm", 1)
    assert result.exit_code == Exit.OK, result.output
    assert result.stdout.startswith("job 1 (done) is removed: ")
    assert not sweep.job(1).exists()
    assert invoke(sweep, "show", 1).exit_code == Exit.NOT_FOUND
    assert "job 1 (done), which was done, was removed by you" in invoke(sweep, "show", 1).stderr


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (["1-3"], ["runs", "next", "last"]),
        (["2,3"], ["done", "runs", "next", "last"]),
        (["1", "3"], ["bad", "runs", "next", "last"]),
        (["1-3", "--state", "failed"], ["done", "runs", "next", "last"]),
        (["--group", "s"], ["done", "runs", "next", "last"]),
        (["--state", "failed"], ["done", "runs", "next", "last"]),
        (["--group", "s", "--state", "done"], ["done", "bad", "worse", "runs", "next", "last"]),
        (["--all"], ["runs", "next", "last"]),
    ],
)
def test_jobs_are_named_by_ranges_groups_and_states(sweep: Home, arguments: list[str], left: list[str]) -> None:
    result = invoke(sweep, "rm", *arguments)
    assert result.exit_code == Exit.OK, result.output
    assert names(sweep) == left


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], Exit.USAGE, "say which jobs: IDs (3, 1-3, 1,2), --group NAME, --state STATE or --all"),
        (["1", "--all"], Exit.USAGE, "--all is for all jobs"),
        (["x"], Exit.USAGE, "'x' is no list of numbers"),
        (["1-9", "--json"], Exit.FAILED, "job 4: training, and only an ended job can be removed"),
        (["1", "77"], Exit.NOT_FOUND, "there is no job 77"),
        (["70-77"], Exit.NOT_FOUND, "there are no jobs 70-77"),
        (["--group", "z"], Exit.NOT_FOUND, "there is no job in group 'z'; there are s"),
    ],
)
def test_what_cannot_be_removed_is_told_and_nothing_is(
    sweep: Home, arguments: list[str], code: Exit, message: str
) -> None:
    result = invoke(sweep, "rm", *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert len(names(sweep)) == 6


def test_a_dry_run_removes_nothing_and_is_refused_as_the_removal_would_be(sweep: Home) -> None:
    document = json.loads(invoke(sweep, "rm", "1-3", "--dry-run", "--json").stdout)
    assert [each["job"] for each in document["removed"]] == [1, 2, 3]
    assert document["bytes"] == sum(each["bytes"] for each in document["removed"]) > 0
    assert invoke(sweep, "rm", "4", "--dry-run").exit_code == Exit.FAILED
    assert len(names(sweep)) == 6


def test_files_are_not_deleted_beside_a_daemon_that_does_not_answer(sweep: Home) -> None:
    with hold_lock(sweep):
        result = invoke(sweep, "rm", 1)
    assert result.exit_code != Exit.OK
    assert sweep.job(1).exists()


def test_other_commands_take_groups_and_states_too(sweep: Home) -> None:
    result = invoke(sweep, "retry", "--group", "s")
    assert result.stdout.splitlines() == [
        "job 2 (bad) is queued again, attempt 2",
        "job 3 (worse) is queued again, attempt 2",
    ]
    assert invoke(sweep, "pause", "--group", "s").stdout.splitlines() == [
        "job 2 (bad) is paused",
        "job 3 (worse) is paused",
        "job 5 (next) is paused",
    ]
    assert len(json.loads(invoke(sweep, "resume", "--state", "paused", "--json").stdout)["jobs"]) == 3
    assert invoke(sweep, "cancel", "--state", "queued").stdout.count("is cancelled") == 4
    assert invoke(sweep, "cancel", "--all").stdout == "job 4 (runs) is training and will stop\n"
    assert "there is no job to cancel" in invoke(sweep, "cancel", "--state", "queued").stderr


def test_of_many_jobs_it_is_told_what_became_of_them_together(ready_home: Home) -> None:
    with JobTable.open(ready_home.database) as table:
        table.add_all([homes.make_spec(name=f"s-{n}", group="s") for n in range(60)], f"{'0' * 26}-s.yaml")
    assert invoke(ready_home, "cancel", "--group", "s").stdout == "60 jobs (1 … 60): each is cancelled\n"
    assert invoke(ready_home, "rm", "--group", "s").stdout.startswith("60 jobs, ")
    assert names(ready_home) == []


def hold_files_of_another(home: Home, job_id: int) -> None:
    """Copy another home's frozen spec into the folder of a job, as `rsync other/runs/ runs/` does."""
    identity = {"job": "01K00000000000000000000000", "number": job_id, "home": "01H", "name": "laptop"}
    home.job(job_id).mkdir(exist_ok=True)
    (home.job(job_id) / "spec.json").write_text(json.dumps({"spec": {}, "identity": identity}), encoding="utf-8")


def test_files_of_another_job_are_not_deleted(sweep: Home) -> None:
    hold_files_of_another(sweep, 2)
    for options in ([], ["--dry-run"]):
        refused = invoke(sweep, "rm", 1, 2, *options)
        assert refused.exit_code == Exit.FAILED, refused.output
        assert f"its folder {sweep.job(2)} holds files of another job, job 2 (laptop)" in refused.stderr
    result = invoke(sweep, "rm", "--state", "failed")
    assert result.stdout.startswith("job 3 (worse) is removed")
    assert "job 2 stays: its folder" in result.stderr
    assert (sweep.job(2) / "spec.json").exists()


def test_of_a_state_or_a_group_what_another_job_waits_for_stays_and_is_told(sweep: Home) -> None:
    homes.add_queued(sweep, name="waits", after=[2])
    refused = invoke(sweep, "rm", 2, "--dry-run")
    assert (refused.exit_code, "job 7 is to run after it" in refused.stderr) == (Exit.FAILED, True)
    document = json.loads(invoke(sweep, "rm", "--state", "failed", "--dry-run", "--json").stdout)
    assert ([each["job"] for each in document["removed"]], document["kept"]) == (
        [3],
        [{"job": 2, "reason": "job 7 is to run after it"}],
    )
    result = invoke(sweep, "rm", "--group", "s")
    assert (result.exit_code, result.stderr) == (Exit.OK, "job 2 stays: job 7 is to run after it\n")
    assert names(sweep) == ["done", "bad", "runs", "next", "last", "waits"]


def test_a_home_that_came_without_its_run_folder_is_no_obstacle(sweep: Home) -> None:
    shutil.rmtree(sweep.run)
    assert invoke(sweep, "rm", 1).exit_code == Exit.OK
