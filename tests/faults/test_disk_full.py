"""A disk that takes no more, at every change of a job's state: the daemon lives, and the job goes on when there is room."""

from __future__ import annotations

import errno
import json
import resource
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from prefd.daemon.errors import WorkerExit
from prefd.daemon.jobs import recovery_records
from prefd.daemon.jobs.rebuild import open_table
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.machine import files
from prefd.daemon.queue import supervisor
from prefd.daemon.service import admission
from prefd.daemon.worker import phases, stopping
from prefd.daemon.worker.errors import JobError
from support import fake_worker
from support.running_daemon import Place, fail_first, process

FULL = OSError(errno.ENOSPC, "No space left on device")
REFUSALS = (sqlite3.OperationalError("database or disk is full"), sqlite3.OperationalError("disk I/O error"))


class Full:
    """A connection whose `number`-th to `number + 2`-th commits fail as on a full disk."""

    def __init__(self, db: sqlite3.Connection, number: int, error: Exception) -> None:
        self.db, self.number, self.error, self.commits = db, number, error, 0

    def execute(self, statement: str, *rest: Any) -> sqlite3.Cursor:
        if statement == "COMMIT":
            self.commits += 1
            if self.number <= self.commits < self.number + 3:
                raise self.error
        return self.db.execute(statement, *rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)


@pytest.mark.parametrize(("number", "error"), [(number, REFUSALS[number % 2]) for number in range(1, 7)])
def test_three_refused_commits_anywhere_delay_a_job_and_lose_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, number: int, error: Exception
) -> None:
    with open_table(place.home):  # its database is made, and has the home's id: refused this, no daemon starts
        pass
    real = JobTable.open

    def open_full(path: Path) -> JobTable:
        table = real(path)
        table._db = Full(table._db, number, error)  # type: ignore[assignment]
        return table

    monkeypatch.setattr(JobTable, "open", open_full)
    with place.daemon() as client:
        place.drop("a.yaml")
        (job,) = place.wait_for("done")
        assert client.status().jobs["done"] == 1
    assert (job.id, place.rejected()) == (1, {})
    assert json.loads((place.home.job(1) / "job.json").read_text())["row"]["state"] == "done"


@pytest.mark.parametrize("owner", [admission, supervisor])
def test_a_spec_that_cannot_be_frozen_waits_for_room(
    place: Place, monkeypatch: pytest.MonkeyPatch, owner: object
) -> None:
    fail_first(monkeypatch, owner, "freeze", [FULL, FULL, FULL])
    with place.daemon():
        place.drop("a.yaml")
        place.wait_for("done")


def test_a_record_that_cannot_be_written_stops_nothing_and_is_written_later(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, full = files.write_json, [True]

    def write(path: Path, value: Any, flush: bool = True) -> None:
        if full and path.name == "job.json":
            raise FULL
        real(path, value, flush)

    monkeypatch.setattr(recovery_records, "write_json", write)
    with place.daemon():
        place.drop("a.yaml")
        place.wait_for("done")
        assert not (place.home.job(1) / "job.json").exists()
        full.clear()
        fake_worker.wait_for((place.home.job(1) / "job.json").exists)
    assert json.loads((place.home.job(1) / "job.json").read_text())["row"]["state"] == "done"


def test_a_worker_without_room_gives_its_job_back_and_it_goes_on(place: Place) -> None:
    with place.daemon():
        place.drop("a.yaml", name="full@training")
        (job,) = place.wait_for("done")
    with JobTable.open_readonly(place.home.database) as table:
        reasons = [event.reason for event in table.history(job.id) if event.state == "queued"]
    assert (
        reasons[1:] == ["the disk takes no more; it goes on when there is room: [Errno 28] No space left on device"] * 4
    )


def full_disk(*_: object) -> None:
    raise FULL


def full_checkpoint(*_: object) -> None:
    raise JobError("the checkpoint cannot be written") from FULL


@pytest.mark.parametrize("work", [full_disk, full_checkpoint])
def test_a_phase_that_finds_no_room_says_so_by_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[..., None]
) -> None:
    from support.jobs_on_disk import make_job

    job = make_job(tmp_path, model="m", data={"path": "p"})
    monkeypatch.setitem(phases.PHASES, "training", work)
    monkeypatch.setattr(stopping, "watch_signals", lambda: None)
    monkeypatch.setattr(stopping, "watch_parent", lambda _: None)
    assert phases.run_phases("training", tmp_path, 1) == WorkerExit.NO_ROOM
    assert job.run.outcome("training") is None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
def test_a_daemon_that_may_write_nothing_for_a_while_lives_and_does_it_all_later(place: Place) -> None:
    """A limit of 0 bytes a file, set on the live daemon: each write fails in the kernel, as on a full disk."""
    with process(place) as daemon:
        place.drop("a.yaml", name="once")
        fake_worker.wait_for(lambda: "hello" in place.log(1))
        it = psutil.Process(daemon.pid)
        soft, hard = it.rlimit(resource.RLIMIT_FSIZE)
        it.rlimit(resource.RLIMIT_FSIZE, (0, hard))
        place.drop("b.yaml")
        place.drop("broken.yaml", "model: 5")
        for worker in it.children():
            worker.terminate()
        fake_worker.wait_for(lambda: not it.children() or it.status() == psutil.STATUS_ZOMBIE)
        assert daemon.poll() is None
        it.rlimit(resource.RLIMIT_FSIZE, (soft, hard))
        place.wait_for("done", "done")
        fake_worker.wait_for(lambda: list(place.rejected()) == ["broken.yaml"])
