"""A removal is one moment: before it all of a job is there, and after it nothing, whatever dies in between."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs import leftovers
from prefd.daemon.jobs.event_kinds import RemovedEvent
from prefd.daemon.jobs.events import Cursor, Follower
from prefd.daemon.jobs.job import JobNotFound
from prefd.daemon.jobs.leftovers import finish_removals
from prefd.daemon.jobs.rebuild import open_table
from prefd.daemon.jobs.removals import NotRemovable
from prefd.daemon.jobs.table import JobTable
from support import homes


def source_of(home: Home, job_id: int) -> Path:
    """The accepted file of a job, made as a claim leaves it."""
    with JobTable.open_readonly(home.database) as table:
        path = home.accepted / table.get(job_id).source
    path.write_text("{}", encoding="utf-8")
    return path


def test_a_removed_job_leaves_nothing_but_its_number(ready_home: Home) -> None:
    job = homes.add_done(ready_home)
    accepted = source_of(ready_home, job.id)
    with JobTable.open(ready_home.database) as table:
        table.remove([job.id])
        assert finish_removals(ready_home, table) == []
        with pytest.raises(JobNotFound, match=r"job 1 \(smol-ipo\), which was done, was removed by you: "):
            table.get(job.id)
        assert (table.list(), table.leftovers(), table.sources()) == ([], [], set())
    assert [path.name for path in ready_home.runs.iterdir() if not path.name.startswith(".table")] == []
    assert not accepted.exists()
    assert homes.add_queued(ready_home, name="next").id == 2, "its number is not given out again"


def test_a_number_is_not_given_out_again_after_the_database_was_lost_too(ready_home: Home) -> None:
    homes.add_done(ready_home, name="first")
    last = homes.add_done(ready_home, name="last")
    with JobTable.open(ready_home.database) as table:
        table.remove([last.id])
        finish_removals(ready_home, table)
    for path in ready_home.root.glob("prefd.sqlite3*"):
        path.unlink()
    with open_table(ready_home) as table:
        assert [job.name for job in table.list()] == ["first"]
        assert table.add(homes.make_spec(), "01-x.yaml").id == 3


def test_what_has_not_ended_is_refused_with_the_remedy_and_nothing_is_removed(ready_home: Home) -> None:
    homes.add_done(ready_home, name="done")
    homes.add_running(ready_home, name="runs")
    homes.add_queued(ready_home, name="waits")
    homes.add_queued(ready_home, name="waits too")
    with JobTable.open(ready_home.database) as table:
        with pytest.raises(NotRemovable) as raised:
            table.remove([1, 2, 3, 4])
        assert raised.value.lines == (
            "jobs 3 and 4: queued, and only an ended job can be removed; `prefd cancel 3,4` ends them",
            "job 2: training, and only an ended job can be removed; `prefd cancel 2` ends it",
        )
        with pytest.raises(JobNotFound, match="there is no job 9"):
            table.remove([1, 9])
        assert len(table.list()) == 4


def test_a_failed_job_that_another_is_to_run_after_stays_and_a_done_one_may_go(ready_home: Home) -> None:
    homes.add_done(ready_home, name="done")
    homes.add_failed(ready_home, name="failed")
    with JobTable.open(ready_home.database) as table:
        table.add(homes.make_spec(after=[1, 2]), "01-x.yaml")
        with pytest.raises(
            NotRemovable, match="job 2: job 3 is to run after it; `prefd edit 3 --after none` lets it run"
        ):
            table.remove([2])
        table.remove([1])
        assert table.states([1, 2]) == {1: "done", 2: "failed"}, "what was to run after job 1 still may"


def test_the_accepted_file_of_a_sweep_stays_until_its_last_job_is_removed(ready_home: Home) -> None:
    with JobTable.open(ready_home.database) as table:
        jobs = table.add_all([homes.make_spec(name=f"s-{n}") for n in (1, 2)], f"{'0' * 26}-sweep.yaml")
        accepted = source_of(ready_home, 1)
        table.cancel_many([job.id for job in jobs])
        table.remove([1])
        finish_removals(ready_home, table)
        assert accepted.exists()
        table.remove([2])
        finish_removals(ready_home, table)
        assert not accepted.exists()


def test_a_spec_of_the_users_own_is_never_deleted(ready_home: Home, tmp_path: Path) -> None:
    """A job of `prefd run` has the path of the user's file as its source, also once it was retried and is the daemon's."""
    mine = tmp_path / f"{'0' * 26}-mine.yaml"
    mine.write_text("model: m")
    with JobTable.open(ready_home.database) as table:
        job = table.add(homes.make_spec(), str(mine), owner="run:1")
        table.request_cancel(job.id)
        table.retry(job.id)
        table.request_cancel(job.id)
        table.remove([job.id])
        finish_removals(ready_home, table)
    assert mine.exists()


def test_streams_are_told_of_a_removal_and_their_cursors_go_on(ready_home: Home) -> None:
    homes.add_failed(ready_home)
    with JobTable.open(ready_home.database) as table:
        cursor = Cursor(table.last_change())
        table.remove([1])
        follower = Follower(table, ready_home, cursor)
        (event,) = follower.take()
        assert isinstance(event.data, RemovedEvent)
        assert asdict(event.data) | {"at": 0} == {
            "job": 1, "name": "smol-ipo", "reason": "removed by you; it was failed", "at": 0
        }  # fmt: skip
        homes.add_queued(ready_home, name="next")
        assert [each.data.kind for each in follower.take()] == ["job"], "no number of a line is given out again"


def kill_points() -> dict[str, Callable[[pytest.MonkeyPatch], None]]:
    """The moments of a removal at which its process dies, by name: each raises there what ends the process."""

    def dies(module: object, name: str, after: bool = False) -> Callable[[pytest.MonkeyPatch], None]:
        def patch(monkeypatch: pytest.MonkeyPatch) -> None:
            real = getattr(module, name)

            def call(*arguments: object, **more: object) -> object:
                if after:
                    real(*arguments, **more)
                raise Killed

            monkeypatch.setattr(module, name, call)

        return patch

    return {
        "before the commit": dies(JobTable, "record_table"),
        "after the commit": dies(leftovers, "set_leftovers_aside"),
        "before the claimed file is deleted": dies(leftovers, "_delete_claimed_file"),
        "after the claimed file is deleted": dies(leftovers, "_delete_claimed_file", after=True),
        "after the folder is renamed": dies(leftovers, "set_aside", after=True),
        "before the files are deleted": dies(leftovers, "_delete_tree"),
        "in the midst of the files": dies(leftovers.shutil, "rmtree", after=False),
        "before it is written down that nothing is left": dies(JobTable, "forget_leftovers"),
    }


class Killed(BaseException):
    """The process is gone: nothing after it runs."""


@pytest.mark.parametrize("lost", [False, True], ids=["", "and the database is lost"])
@pytest.mark.parametrize("point", kill_points())
def test_a_removal_that_is_killed_leaves_all_of_a_job_or_nothing(
    ready_home: Home, point: str, lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes.add_done(ready_home, name="stays")
    job = homes.add_done(ready_home, name="goes")
    accepted = source_of(ready_home, job.id)
    files = sorted(path.name for path in ready_home.job(job.id).iterdir())
    with JobTable.open(ready_home.database) as table, monkeypatch.context() as patched:
        kill_points()[point](patched)
        with pytest.raises(Killed):  # noqa: PT012  # wherever it is
            table.remove([job.id])
            finish_removals(ready_home, table)
    if lost:
        for path in ready_home.root.glob("prefd.sqlite3*"):
            path.unlink()
    with open_table(ready_home) as table:
        leftovers.delete_set_aside(ready_home)
        names = [each.name for each in table.list()]
        assert names in (["stays", "goes"], ["stays"])
        if "goes" in names:
            assert files == sorted(path.name for path in ready_home.job(job.id).iterdir())
            assert table.get(job.id).state == "done"
        else:
            assert not ready_home.job(job.id).exists()
            assert not accepted.exists()
        if not lost:
            assert names == (["stays", "goes"] if point == "before the commit" else ["stays"])
            assert table.leftovers() == []
        assert leftovers.list_set_aside(ready_home) == []
        assert table.add(homes.make_spec(), "01-x.yaml").id == 3


KILLED = """
import os, signal, sys
from pathlib import Path
from prefd.daemon.commands.shared import job_changes
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs import leftovers
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(leftovers, sys.argv[2], die)
job_changes.change_jobs(Home(Path(sys.argv[1])), "remove", [1, 2])
"""


@pytest.mark.parametrize("point", ["_delete_claimed_file", "set_aside", "_delete_tree"])
def test_a_process_that_is_killed_while_it_removes_leaves_work_for_the_next_and_no_half_job(
    ready_home: Home, point: str
) -> None:
    homes.add_done(ready_home, name="one")
    homes.add_failed(ready_home, name="two")
    stays = homes.add_done(ready_home, name="three")
    command = [sys.executable, "-c", KILLED, str(ready_home.root), point]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -signal.SIGKILL
    with open_table(ready_home) as table:  # as the next daemon does, or the next removal, which has the lock again
        assert [job.name for job in table.list()] == ["three"]
        assert finish_removals(ready_home, table) == []
    assert sorted(path.name for path in ready_home.runs.iterdir() if not path.name.startswith(".")) == [str(stays.id)]


def test_what_cannot_be_deleted_is_told_and_tried_again(ready_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    job = homes.add_done(ready_home)
    with JobTable.open(ready_home.database) as table:
        table.remove([job.id])
        with monkeypatch.context() as patched:

            def refuse(*_: object) -> None:
                raise PermissionError(13, "Permission denied", str(ready_home.job(1)))

            patched.setattr(leftovers, "set_aside", refuse)
            assert finish_removals(ready_home, table) == [
                f"job 1 is removed, and {ready_home.job(1)} stays: Permission denied"
            ]
        assert ready_home.job(1).exists()
        assert finish_removals(ready_home, table) == []
        assert not ready_home.job(1).exists()


def test_many_jobs_are_cancelled_at_once_and_each_as_one_by_itself(ready_home: Home) -> None:
    specs = [homes.make_spec(name=f"s-{number}") for number in range(60)]
    with JobTable.open(ready_home.database) as table:
        table.add_all(specs, f"{'0' * 26}-sweep.yaml")
        table.transition(1, "training")
        table.transition(2, "paused")
        table.transition(3, "failed", "no rows")
        table.cancel_many(range(1, 61))
        states = [job.state for job in table.list()]
        assert states == ["training", "cancelled", "failed", *["cancelled"] * 57]
        assert table.get(1).cancel_requested
        last = table.get(60)
        assert (last.reason, last.cancel_requested, last.pausing) == ("cancelled before it started", True, False)
        assert last.finished_at is not None
        assert [event.state for event in table.history(60)] == ["queued", "cancelled"]
        with pytest.raises(JobNotFound, match="there is no job 61"):
            table.cancel_many(range(40, 100))
        while table.write_missing_records():
            pass
    assert not (ready_home.runs / ".ends.json").exists()


def test_many_cancelled_jobs_stay_cancelled_though_the_database_is_lost_before_their_records_are_written(
    ready_home: Home,
) -> None:
    specs = [homes.make_spec(name=f"s-{number}") for number in range(60)]
    with JobTable.open(ready_home.database) as table:
        table.add_all(specs, f"{'0' * 26}-sweep.yaml")
        table.cancel_many(range(1, 61))
        table.retry(5)
    for path in ready_home.root.glob("prefd.sqlite3*"):
        path.unlink()
    with open_table(ready_home) as table:
        states = [job.state for job in table.list()]
        assert states == [*["cancelled"] * 4, "queued", *["cancelled"] * 55]
    assert not (ready_home.runs / ".ends.json").exists()
