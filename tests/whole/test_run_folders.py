"""Folders in `runs/` that are not what the database thinks: copied in from another home, newer than it, or not its own."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.home.runs_owner import RunsShared
from prefd.daemon.jobs.rebuild import open_table
from prefd.daemon.jobs.table import JobTable
from support import fake_worker
from support.homes import invoke
from support.running_daemon import Place


@pytest.fixture
def laptop(place: Place) -> Place:
    """Another home, on another machine, which has run two jobs."""
    laptop = replace(place, home=Home(place.folder / "laptop"), services=[])
    laptop.home.create()
    with laptop.daemon():
        run(laptop, "warm.yaml", name="warm")
        run(laptop, "a.yaml", name="laptop-sigmoid", loss={"name": "sigmoid"})
    return laptop


def run(place: Place, file: str, **spec: object) -> None:
    """Drop a spec, and wait for its end."""
    count = len(place.jobs())
    place.drop(file, **spec)
    fake_worker.wait_for(
        lambda: len(place.jobs()) == count + 1 and place.jobs("queued", "precomputing", "training") == []
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def frozen_name(place: Place, job_id: int) -> str:
    name: str = json.loads((place.home.job(job_id) / "spec.json").read_text())["spec"]["name"]
    return name


def without_log(place: Place, name: str) -> Home:
    """A backup of a live home that leaves out what SQLite keeps beside the database."""
    ignored = shutil.ignore_patterns("*-wal", "*-shm", "run", "*~", "*.tmp")
    home = Home(shutil.copytree(place.home.root, place.folder / name, ignore=ignored))
    home.run.mkdir(mode=0o700)
    return home


# --- a number whose folder is there


def test_a_number_whose_folder_was_copied_in_is_not_given_out(place: Place, laptop: Place) -> None:
    """The daemon runs, so that it has not looked into runs/ since."""
    with place.daemon():
        run(place, "warm.yaml", name="warm")
        shutil.copytree(laptop.home.job(2), place.home.job(2))
        before = contents(place.home.job(2))
        run(place, "b.yaml", name="desktop-ipo", loss={"name": "ipo"})
        jobs = place.wait_for("done", "done")
        with JobTable.open_readonly(place.home.database) as table:
            queued = table.history(3)[0].reason
    assert [(job.id, job.name) for job in jobs] == [(1, "warm"), (3, "desktop-ipo")]
    assert queued == "number 2 is taken: runs/2 is there, and is another job's"
    assert frozen_name(place, 3) == "desktop-ipo"
    assert contents(place.home.job(2)) == before


def test_a_run_in_the_foreground_gets_no_number_that_is_taken(place: Place, laptop: Place) -> None:
    JobTable.open(place.home.database).close()
    shutil.copytree(laptop.home.job(2), place.home.job(1))
    with JobTable.open(place.home.database) as table:
        assert table.add(place.spec(), "/a/b.yaml", owner="run:1").id == 2
    assert frozen_name(place, 1) == "laptop-sigmoid"


def test_a_folder_is_listed_at_the_next_start_and_neither_run_nor_overwritten(
    place: Place, laptop: Place, caplog: pytest.LogCaptureFixture
) -> None:
    with place.daemon():
        run(place, "warm.yaml", name="warm")
    shutil.copytree(laptop.home.job(2), place.home.job(2))
    before = contents(place.home.job(2))
    with caplog.at_level(logging.WARNING), place.daemon() as client:
        _, copied = place.wait_for("done", "done")
        message = "1 job (2) in runs/ came from another home: listed as ended here, and run only by `prefd retry`"
        assert message in caplog.text
        assert message in client.status().notes
        run(place, "b.yaml", name="desktop-ipo", loss={"name": "ipo"})
        assert [job.id for job in place.jobs()] == [1, 2, 3]
    assert (copied.name, copied.origin) == ("laptop-sigmoid", json.loads((laptop.home.identity).read_text())["id"])
    assert contents(place.home.job(2)) == before
    with place.daemon() as client:
        assert client.status().notes == [], "it is known by now"


def test_an_unended_job_of_another_home_is_listed_as_cancelled_with_the_remedy(place: Place, laptop: Place) -> None:
    with laptop.daemon():
        laptop.drop("c.yaml", name="once")
        fake_worker.wait_for(lambda: "hello" in laptop.log(3))
    shutil.copytree(laptop.home.job(3), place.home.job(3))
    with place.daemon() as client:
        (job,) = place.wait_for("cancelled")
        assert (job.id, job.reason.split(" (")[0]) == (3, "copied in from another home")
        assert job.reason.endswith("where it was queued; `prefd retry 3` runs it here")
        client.act("retry", 3)
        place.wait_for("done")


# --- a database that knows less than runs/


def test_a_backup_without_its_wal_runs_nothing_again(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    with place.daemon():
        run(place, "a.yaml", name="first")
        run(place, "b.yaml", name="second", loss={"name": "ipo"})
        run(place, "c.yaml", name="fail")
        backup = replace(place, home=without_log(place, "backup"), services=[])
    starts = [contents(backup.home.job(job_id))["starts.txt"] for job_id in (1, 2, 3)]
    with caplog.at_level(logging.WARNING), backup.daemon():
        jobs = backup.wait_for("done", "done", "failed")
        assert [job.name for job in jobs] == ["first", "second", "fail"]
        assert "the database did not know 3 jobs (1, 2, 3) in runs/, and was filled up from there" in caplog.text
        run(backup, "d.yaml", name="new")
        assert [job.id for job in backup.jobs()] == [1, 2, 3, 4]
    assert [contents(backup.home.job(job_id))["starts.txt"] for job_id in (1, 2, 3)] == starts


def test_an_older_database_that_is_put_back_is_filled_up(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Job 1 had ended by then, 2 waited, and 3 was not there yet."""
    with place.daemon() as client:
        run(place, "a.yaml", name="first")
        client.act_on_queue("pause")
        place.drop("b.yaml", name="second")
        place.wait_for("done", "queued")
    older = place.home.database.read_bytes()
    with place.daemon() as client:
        client.act_on_queue("resume")
        place.wait_for("done", "done")
        run(place, "c.yaml", name="third")
    numbers = [job.ulid for job in place.jobs()]
    place.home.database.write_bytes(older)
    with caplog.at_level(logging.WARNING), place.daemon() as client:
        jobs = place.wait_for("done", "done", "done")
        assert [job.ulid for job in jobs] == numbers
        assert len(client.status().notes) == 2
        client.act_on_queue("resume")
        run(place, "d.yaml", name="fourth")
        assert [job.id for job in place.jobs()] == [1, 2, 3, 4]
    for job_id in (1, 2, 3):
        assert contents(place.home.job(job_id))["starts.txt"].count(b"training") == 1, job_id


def test_the_folder_of_a_claim_that_broke_off_is_taken_up_by_it_again(place: Place) -> None:
    """A kill between the folders and the commit: all jobs of the sweep come, with the numbers that they had."""
    text = fake_worker.spec_text(place.folder, name="sweep", sweep={"training.learning_rate": [1e-5, 2e-5, 3e-5]})
    (place.home.jobs / "s.yaml").write_text(text)
    with place.daemon():
        place.wait_for("done", "done", "done")
    ulids = [job.ulid for job in place.jobs()]
    (claimed,) = place.home.accepted.glob("[!.]*")
    for path in place.home.root.glob("prefd.sqlite3*"):
        path.unlink()
    shutil.rmtree(place.home.job(3))
    for job_id in (1, 2):
        record = json.loads((place.home.job(job_id) / "job.json").read_text())
        shutil.rmtree(place.home.job(job_id))
        place.home.job(job_id).mkdir()
        row = record["row"] | {"state": "queued"}
        (place.home.job(job_id) / "job.json").write_text(
            json.dumps(record | {"row": row, "history": record["history"][:1]})
        )
    JobTable.open(place.folder / "prefd.sqlite3").close()
    (place.folder / "prefd.sqlite3").rename(place.home.database)
    claimed.with_name(f".{claimed.name[:26]}.claim").touch()
    with place.daemon():
        jobs = place.wait_for("done", "done", "done")
    assert [(job.id, job.ulid) for job in jobs] == list(zip((1, 2, 3), ulids, strict=True))


# --- a folder that holds another job's files


@pytest.mark.parametrize("left", [[], [".job.json.4711.tmp"]], ids=["nothing", "a file that was not finished"])
def test_a_folder_that_a_killed_daemon_made_for_no_job_takes_no_number(
    place: Place, caplog: pytest.LogCaptureFixture, left: list[str]
) -> None:
    with open_table(place.home):
        pass
    folder = place.home.job(1)
    folder.mkdir(parents=True)
    for name in left:
        (folder / name).touch()
    place.drop("a.yaml")
    with place.daemon():
        (job,) = place.wait_for("done")
    assert job.id == 1
    assert "taken" not in caplog.text


def test_a_job_whose_folder_was_overwritten_by_another_homes_is_refused(place: Place, laptop: Place) -> None:
    """`rsync laptop/runs/ desktop/runs/` puts files of both jobs into one folder."""
    with place.daemon() as client:
        run(place, "warm.yaml", name="warm")
        client.act_on_queue("pause")
        place.drop("b.yaml", name="desktop-ipo", loss={"name": "ipo"})
        place.wait_for("done", "queued")
        shutil.copytree(laptop.home.job(2), place.home.job(2), dirs_exist_ok=True)
        before = contents(place.home.job(2))
        client.act_on_queue("resume")
        _, failed = place.wait_for("done", "failed")
        assert f"{place.home.job(2)} holds files of job 2 (laptop-sigmoid) of home" in failed.reason
        assert "of job 2 (desktop-ipo)" in failed.reason
        shown = json.loads(invoke(place.home, "show", 2, "--json").stdout)
        assert (shown["training"], shown["adapter"], shown["run_gone"]) == (None, None, True)
        assert failed.reason.endswith(f"move the folder out of {place.home.runs}, then `prefd retry 2 --fresh`")
        assert contents(place.home.job(2)) == before
        place.home.job(2).rename(place.folder / "laptops-2")
        client.act("retry-fresh", 2)
        place.wait_for("done", "done")
    assert frozen_name(place, 2) == "desktop-ipo"


def test_a_copy_of_a_folder_in_the_same_runs_is_told_and_left_alone(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    with place.daemon():
        run(place, "a.yaml", name="first")
    shutil.copytree(place.home.job(1), place.home.job(2))
    with caplog.at_level(logging.WARNING), place.daemon():
        assert "runs/2 is a copy of the folder of job 1: it is left as it is" in caplog.text
        run(place, "b.yaml", name="next")
        assert [job.id for job in place.jobs()] == [1, 3]


def test_a_home_with_the_runs_of_another_is_refused_and_changes_nothing_there(place: Place, laptop: Place) -> None:
    with place.daemon():
        run(place, "a.yaml", name="desk")
        shutil.rmtree(laptop.home.runs)
        laptop.home.runs.symlink_to(place.home.runs)
        before = contents(place.home.runs)
        with pytest.raises(RunsShared, match=f"is the runs/ of the home {place.home.root} too, by the link"):
            open_table(laptop.home)
        assert contents(place.home.runs) == before
