"""Homes that people copy, restore, move, rename and remove, some while their daemon runs: none acts on another."""

from __future__ import annotations

import json
import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from prefd.daemon.control.client import Client, DaemonNotRunning, DaemonSilent
from prefd.daemon.errors import Exit
from prefd.daemon.home import lock
from prefd.daemon.home.identity import read_identity
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable, JobTableError
from prefd.daemon.machine.files import write_json
from prefd.daemon.machine.processes import ProcessId
from prefd.daemon.service.daemon import Service
from support import fake_worker
from support.homes import invoke
from support.running_daemon import QUICK, Place

PASSING = ("*.sock", "*~", "*.tmp")


def open_place(place: Place, root: Path) -> Place:
    """Another home, with the stand-in worker, model and data of `place`."""
    return replace(place, home=Home(root), services=[])


def copied(place: Place, name: str) -> Place:
    """A copy of the home, without its socket and what is just being written."""
    root = place.folder / name
    shutil.copytree(place.home.root, root, symlinks=True, ignore=shutil.ignore_patterns(*PASSING))
    return open_place(place, root)


def worker_of(place: Place, job_id: int = 1) -> ProcessId:
    with JobTable.open_readonly(place.home.database) as table:
        worker = table.get(job_id).worker_process
    assert worker is not None
    return worker


def start_job(place: Place, file: str = "a.yaml") -> ProcessId:
    """Drop a job that works until it is stopped, and return its worker."""
    place.drop(file, name="sleep")
    fake_worker.wait_for(lambda: "hello" in place.log(1) and place.jobs()[0].worker_pid is not None)
    return worker_of(place)


# --- a copy and its original


def test_commands_for_a_copy_do_nothing_to_the_original(place: Place) -> None:
    with place.daemon() as original:
        worker = start_job(place)
        copy = copied(place, "copy")
        assert not lock.is_held(copy.home)
        for words in (["status"], ["stop"], ["events", "--no-follow"]):
            assert invoke(copy.home, *words).exit_code != 0, words
        assert "no daemon runs on" in invoke(copy.home, "stop").stderr
        assert invoke(copy.home, "cancel", 1).exit_code == 0, "in the copy's own database"
        assert [job.cancel_requested for job in copy.jobs()] == [True]
        assert not place.jobs()[0].cancel_requested
        assert worker.is_alive()
        assert original.status().active[0].id == 1


def test_the_daemon_of_a_copy_leaves_the_originals_worker_alone_and_holds_the_job(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    with place.daemon():
        worker = start_job(place)
        copy = copied(place, "copy")
        with caplog.at_level(logging.WARNING), copy.daemon() as client:
            (job,) = copy.wait_for("paused")
            notes = client.status().notes
            assert worker.is_alive()
            assert place.jobs()[0].worker_pid == worker.pid
        message = f"this home is a copy of {place.home.root}, which is still there and has these jobs too"
        assert job.reason == message
        assert [note.startswith(message) for note in notes] == [True]
        assert "1 job of it held: `prefd resume ID` or `prefd resume --all`" in caplog.text
        assert "ending worker" not in caplog.text
        ids = [read_identity(home.root) for home in (place.home, copy.home)]
        assert ids[0] is not None
        assert ids[1] is not None
        assert ids[1].former == (ids[0].id,)
        with copy.daemon():
            copy.wait_for("paused")
            assert invoke(copy.home, "resume", 1).exit_code == 0
            fake_worker.wait_for(lambda: copy.jobs()[0].worker_pid is not None)
            assert worker.is_alive(), "the copy's own works in the copy"
            assert worker_of(copy) != worker


def test_what_had_ended_in_a_copy_stays_and_what_is_new_there_runs(place: Place) -> None:
    with place.daemon():
        place.drop("a.yaml")
        place.wait_for("done")
    copy = copied(place, "copy")
    with copy.daemon(), place.daemon():
        copy.drop("b.yaml", name="later")
        copy.wait_for("done", "done")
        place.drop("b.yaml")
        place.wait_for("done", "done")
    assert (copy.home.job(1) / "starts.txt").read_text() == (place.home.job(1) / "starts.txt").read_text()


def test_specs_that_were_waiting_in_the_folder_of_a_copy_are_held(place: Place) -> None:
    """They wait in the original too, whose daemon will run them."""
    place.drop("a.yaml")
    copy = copied(place, "copy")
    with copy.daemon():
        (job,) = copy.wait_for("paused")
        assert job.reason.startswith(f"this home is a copy of {place.home.root}")
        copy.drop("b.yaml", name="new")
        copy.wait_for("paused", "done")
    with place.daemon():
        place.wait_for("done")


def test_a_copy_whose_original_is_gone_asks_before_it_goes_on(place: Place) -> None:
    place.drop("a.yaml", name="once")
    with place.daemon():
        fake_worker.wait_for(lambda: "hello" in place.log(1))
    copy = copied(place, "copy")
    shutil.rmtree(place.home.root)
    with copy.daemon() as client:
        (job,) = copy.wait_for("paused")
        assert job.reason.endswith(
            f"moved here from {place.home.root}: whether its jobs run elsewhere too cannot be told"
        )
        client.act_on_queue("resume-all")
        copy.wait_for("done")


def test_a_copy_made_with_hard_links_is_refused(place: Place) -> None:
    with place.daemon():
        worker = start_job(place)
        root = place.folder / "linked"
        shutil.copytree(place.home.root, root, copy_function=os.link, ignore=shutil.ignore_patterns(*PASSING))
        linked = open_place(place, root)
        assert lock.is_held(linked.home), "they have one lock"
        with pytest.raises(DaemonSilent, match=f"a daemon is just starting or ending on {root}: try again in a moment"):
            Client(linked.home).status()
        announced = json.loads((place.home.run / "daemon.json").read_text())
        write_json(linked.home.run / "daemon.json", announced | {"started_at": 1.0})
        with pytest.raises(DaemonSilent, match=f"{root} is held by a daemon .* that does not answer for this home"):
            Client(linked.home).status()
        with pytest.raises(JobTableError, match="has 2 names: a copy made with hard links"):
            JobTable.open(linked.home.database)
        for words in (["cancel", 1], ["stop"], ["start", "--detach"]):
            assert invoke(linked.home, *words).exit_code == Exit.FAILED, words
        assert worker.is_alive()
        assert not place.jobs()[0].cancel_requested
        shutil.rmtree(root)


# --- the same home under another name


def test_a_home_that_is_renamed_while_its_daemon_is_stopped_goes_on(place: Place) -> None:
    place.drop("a.yaml", name="once")
    with place.daemon():
        fake_worker.wait_for(lambda: "hello" in place.log(1))
    before = read_identity(place.home.root)
    moved = open_place(place, place.home.root.rename(place.folder / "moved"))
    with moved.daemon() as client:
        moved.wait_for("done")
        assert client.status().notes == []
    after = read_identity(moved.home.root)
    assert before is not None
    assert after is not None
    assert (after.id, after.place.root) == (before.id, str(moved.home.root))


def test_a_home_reached_by_a_link_is_the_same_home(place: Place) -> None:
    link = place.folder / "link"
    link.symlink_to(place.home.root)
    place.drop("a.yaml", name="once")
    with place.daemon() as client:
        fake_worker.wait_for(lambda: "hello" in place.log(1))
        for home in (Home(link), Home.locate(link)):
            assert Client(home).status().pid == client.status().pid
    with open_place(place, link).daemon() as client:
        place.wait_for("done")
        assert client.status().notes == []


def test_commands_for_a_home_that_was_set_aside_do_nothing_to_the_new_one(place: Place) -> None:
    """The daemon was killed, so `daemon.json` still names a socket: it is the new home's by now."""
    root = place.home.root
    (place.home.run / "daemon.json").write_text(
        f'{{"pid": {os.getpid()}, "started_at": 1.0, "socket": "{place.home.socket}"}}'
    )
    old = Home(root.rename(place.folder / "old"))
    place.home.create()
    with place.daemon() as client:
        start_job(place)
        with pytest.raises(DaemonNotRunning):
            Client(old).stop()
        assert invoke(old, "status").exit_code == Exit.NO_DAEMON
        assert not client.status().stopping


# --- a home that goes away under its daemon


def run_until_lost(place: Place, lose: object, caplog: pytest.LogCaptureFixture) -> Service:
    """A daemon with a job that works, whose home `lose` takes away; its Service, once it has ended by itself."""
    assert callable(lose)
    with caplog.at_level(logging.INFO), place.daemon(QUICK):
        worker = start_job(place)
        lose()
        fake_worker.wait_for(lambda: not worker.is_alive(), 30)
    return place.services[-1]


def test_a_home_that_is_renamed_under_its_daemon_is_told_once_and_goes_on_under_its_new_name(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    root, moved = place.home.root, open_place(place, place.folder / "moved")
    service = run_until_lost(place, lambda: root.rename(moved.home.root), caplog)
    assert service.home_watch.lost == f"the home {root} is not there any more: it was removed, renamed or unmounted"
    messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert messages == [
        f"{service.home_watch.lost}; the daemon ends. Start it again when the home is back, or with the home's new place"
    ]
    assert not root.exists(), "nothing makes it again"
    assert "make it with `prefd init`" in invoke(place.home, "status").stderr
    assert invoke(moved.home, "status").exit_code == Exit.NO_DAEMON
    with moved.daemon() as client:
        moved.drop("b.yaml")
        fake_worker.wait_for(lambda: {job.state for job in moved.jobs()} == {"precomputing", "queued"})
        client.act("cancel", 1)
        moved.wait_for("cancelled", "done")


def test_a_home_that_is_removed_under_its_daemon_is_told_once_and_not_made_again(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    service = run_until_lost(place, lambda: shutil.rmtree(place.home.root), caplog)
    assert service.home_watch.lost is not None
    messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [line.startswith(f"the home {place.home.root} is not there any more") for line in messages] == [True]
    assert not place.home.root.exists()


def test_the_end_of_a_daemon_whose_home_is_gone_leaves_the_next_home_there_alone(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    root, new = place.home.root, open_place(place, place.home.root)

    def replace_home() -> None:
        root.rename(place.folder / "old")
        place.home.create()
        place.home.socket.write_text("the next daemon's")
        (place.home.run / "daemon.json").write_text("the next daemon's")

    service = run_until_lost(place, replace_home, caplog)
    assert (
        service.home_watch.lost
        == f"the home {root} is another folder now: this daemon's was removed, renamed or unmounted"
    )
    assert new.home.socket.read_text() == (new.home.run / "daemon.json").read_text() == "the next daemon's"
    assert list(new.home.runs.iterdir()) == []
    assert not new.home.database.exists()


@pytest.mark.parametrize("put_back", ["without its run/", "with it"])
def test_a_home_whose_files_are_replaced_under_its_daemon_has_no_second_daemon_beside_it(
    place: Place, caplog: pytest.LogCaptureFixture, put_back: str
) -> None:
    """As `rsync -a --delete backup/ home/` does, whose lock file is another one, or none."""
    backup = copied(place, "backup").home.root

    def restore() -> None:
        shutil.rmtree(place.home.run)
        if put_back == "with it":
            shutil.copytree(backup / "run", place.home.run)

    service = run_until_lost(place, restore, caplog)
    assert service.home_watch.lost is not None
    messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert messages == [f"{service.home_watch.lost}; the daemon ends. Start it again when all is in its place"]
    assert service.home_watch.lost.startswith(f"{place.home.lock} was removed or replaced")
    place.home.create()
    with place.daemon() as client:
        (job,) = place.wait_for("precomputing")
        client.act("cancel", job.id)
        place.wait_for("cancelled")


# --- folders on a drive that is not there


@pytest.mark.parametrize("name", ["runs", "cache"])
def test_a_link_to_a_drive_that_is_not_mounted_is_told_as_that(place: Place, name: str) -> None:
    folder = place.home.root / name
    folder.rmdir()
    folder.symlink_to("/media/nobody/drive")
    result = invoke(place.home, "start")
    assert result.exit_code == Exit.NOT_FOUND
    message = " ".join(result.stderr.split())
    assert f"{folder} is a link to /media/nobody/drive, which is not there: mount the drive that it is on" in message


def test_a_home_that_is_a_link_to_a_drive_that_is_not_mounted_is_not_made_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "home").symlink_to(tmp_path / "drive" / "prefd")
    for words in (["start"], ["init"], ["status"], ["submit", "a.yaml"]):
        result = invoke(Home(tmp_path / "home"), *words)
        assert result.exit_code == Exit.NOT_FOUND
        assert "which is not there: mount the drive" in " ".join(result.stderr.split())
    assert not (tmp_path / "drive").exists()
