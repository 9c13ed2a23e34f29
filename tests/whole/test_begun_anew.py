"""A home whose database was taken away asks before it repeats what it once took in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from prefd.daemon.inbox.claim_marks import make_mark
from prefd.daemon.jobs.table import JobTable, JobTableError
from support import fake_worker
from support.homes import invoke
from support.running_daemon import Place, fail_first


def begin_anew(place: Place) -> None:
    """Remove the database and runs/, as people do who want an empty list."""
    for path in place.home.root.glob("prefd.sqlite3*"):
        path.unlink()
    shutil.rmtree(place.home.runs)


def test_what_was_taken_in_before_a_new_beginning_is_held_with_the_remedy(place: Place) -> None:
    with place.daemon():
        for name in "abc":
            place.drop(f"{name}.yaml", name=name)
        fake_worker.wait_for(lambda: [job.state for job in place.jobs()] == ["done"] * 3)
    begin_anew(place)
    with place.daemon():
        jobs = place.wait_for("paused", "paused", "paused")
        place.drop("new.yaml")
        place.wait_for("paused", "paused", "paused", "done")
    assert not any((place.home.job(job.id) / "starts.txt").exists() for job in jobs)
    for job in jobs:
        assert "the database does not know its job: was that begun anew, or is it" in job.reason
        assert job.reason.endswith("`prefd resume ID` runs it, `prefd cancel ID` does not")
    with place.daemon():
        assert invoke(place.home, "resume", 2).exit_code == 0
        fake_worker.wait_for(lambda: [job.state for job in place.jobs()] == ["paused", "done", "paused", "done"])


def test_a_claim_that_broke_off_goes_on_in_a_home_that_was_begun_anew(place: Place) -> None:
    for name in ("01J00000000000000000000000-ran.yaml", "01J00000000000000000000001-broke-off.yaml"):
        (place.home.accepted / name).write_text(fake_worker.spec_text(place.folder, name=""))
    make_mark(place.home.accepted / name)
    with place.daemon():
        jobs = place.wait_for("paused", "done")
    assert [job.name for job in jobs] == ["ran", "broke-off"]
    assert [path.name for path in place.home.accepted.glob(".*.claim")] == [], "a mark ends with its claim"


def test_no_mark_is_left_by_jobs_and_rejected_files(place: Place) -> None:
    with place.daemon() as client:
        place.drop("a.yaml")
        place.drop("b.yaml", "nonsense: [")
        client.submit(fake_worker.spec_text(place.folder).encode(), "c.json")
        place.wait_for("done", "done")
        fake_worker.wait_for(lambda: list(place.rejected()) == ["b.yaml"])
        fake_worker.wait_for(lambda: [*place.home.accepted.glob(".*.claim")] == [], 60)


def test_a_claim_whose_row_is_refused_keeps_its_mark_until_it_is_a_job(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[Exception] = [JobTableError("the disk is full")] * 1000
    fail_first(monkeypatch, JobTable, "add_all", failures)
    with place.daemon():
        place.drop("a.yaml")
        fake_worker.wait_for(lambda: len(failures) < 999)
    assert len([*place.home.accepted.glob(".*.claim")]) == 1
    failures.clear()
    with place.daemon():
        place.wait_for("done")


def test_a_home_of_an_earlier_version_runs_the_claims_that_it_left_without_jobs(place: Place) -> None:
    """It marked none, so all of them count as broken off, where the database has jobs at all."""
    (place.home.accepted / "01J00000000000000000000000-left.yaml").write_text(
        fake_worker.spec_text(place.folder, name="")
    )
    with JobTable.open(place.home.database) as table:
        table.add(place.spec(), "01J00000000000000000000001-known.yaml")
    identity: Path = place.home.identity
    identity.unlink(missing_ok=True)
    with place.daemon():
        place.wait_for("done", "done")
    assert identity.exists()


def test_marks_of_no_claim_are_cleared_away(place: Place) -> None:
    """A crash came between the mark and the claim, or between the row and the end of the mark."""
    with place.daemon():
        place.drop("a.yaml")
        place.wait_for("done")
    (claimed,) = place.home.accepted.glob("[!.]*")
    make_mark(claimed)
    make_mark(place.home.accepted / "01J00000000000000000000000-never.yaml")
    with place.daemon():
        fake_worker.wait_for(lambda: [*place.home.accepted.glob(".*.claim")] == [])
        assert len(place.jobs()) == 1
