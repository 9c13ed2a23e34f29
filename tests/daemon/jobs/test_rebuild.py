"""A lost job database: what was there is kept, and the jobs' folders give back what it held."""

from __future__ import annotations

import errno
import json
import logging
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefd.daemon.health import checks
from prefd.daemon.home.layout import Home
from prefd.daemon.inbox.claim_marks import make_mark
from prefd.daemon.jobs import rebuild
from prefd.daemon.jobs.migrations import VERSION
from prefd.daemon.jobs.rebuild import open_table
from prefd.daemon.jobs.table import Job, JobTable, JobTableError, Unreadable
from prefd.daemon.runs.phase_outcomes import TrainingOutcome
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.service import daemon
from support import fake_worker, homes
from support.homes import invoke
from support.running_daemon import Place


@pytest.fixture
def filled(home: Path) -> Home:
    """1 done, 2 failed, 3 training, 4 queued, 5 paused, 6 cancelled and retried; 7 was added and its folder is gone."""
    there = Home(home)
    homes.add_done(there)
    homes.add_failed(there, name="all-bad")
    homes.add_running(there, name="half-way")
    homes.add_queued(there, name="next", priority=5, after=[3], group="g")
    homes.add_queued(there, name="held")
    homes.add_queued(there, name="again")
    homes.add_queued(there, name="gone")
    with JobTable.open(there.database) as table:
        table.request_pause(5)
        table.request_cancel(6)
        table.retry(6, fresh=True)
    shutil.rmtree(there.job(7))
    return there


def not_a_database(path: Path) -> None:
    path.write_bytes(b"this is not a database, it only has its name" * 200)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def bad_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096 : 2 * 4096] = b"\xa5" * 4096
    path.write_bytes(bytes(data))


def damaged_index(path: Path) -> None:
    """An index that is not its table's: nothing fails until a lookup by it misses a row."""
    with sqlite3.connect(path) as db:
        root = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'jobs_state'").fetchone()[0]
    db.close()
    data = bytearray(path.read_bytes())
    offset = (root - 1) * 4096
    data[offset + 3 : offset + 5] = (0).to_bytes(2, "big")  # no cells
    path.write_bytes(bytes(data))


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def emptied_beside_its_log(path: Path) -> None:
    path.write_bytes(b"")
    path.with_name(f"{path.name}-wal").write_bytes(b"\x37\x7f\x06\x82 frames")


def anothers(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")
    db.close()


def removed(path: Path) -> None:
    path.unlink()


LOSSES = (not_a_database, truncated, bad_page, damaged_index, emptied, emptied_beside_its_log, anothers, removed)


def facts(jobs: list[Job]) -> list[tuple[object, ...]]:
    return [
        (
            *(job.id, job.name, job.state, job.source, job.created_at, job.started_at, job.finished_at),
            *(job.phase_seconds, job.priority, job.after, job.group, job.attempt, job.fresh, job.owner),
        )
        for job in jobs
    ]


@pytest.mark.parametrize("lose", LOSSES)
def test_every_loss_is_set_aside_and_every_job_is_there_again(filled: Home, lose: Callable[[Path], None]) -> None:
    with JobTable.open_readonly(filled.database) as table:
        before, histories = table.list()[:6], [table.history(number) for number in range(1, 7)]
        numbers = [change.number for change in table.changes(0, 1000) if change.job_id < 7]
        specs = [table.spec(number) for number in range(1, 7)]
    lose(filled.database)
    left = filled.database.read_bytes() if filled.database.exists() else None
    with open_table(filled) as table:
        after = table.list()
        assert facts(after) == facts(before)
        assert [table.spec(job.id) for job in after] == specs
        for job, history in zip(after, histories):
            reasons = [event.reason for event in table.history(job.id)[len(history) :]]
            assert table.history(job.id)[: len(history)] == history
            assert [reason.startswith("rebuilt from runs/, for the database") for reason in reasons] == [True] * (
                not job.ended
            )
        assert [change.number for change in table.changes(0, 1000)][: len(numbers)] == numbers, "events keep their ids"
        assert after[1].reason == "no row of /data/pairs.jsonl can be used", "why a job ended stays its reason"
        assert after[3].reason.startswith("rebuilt from runs/")
        assert table.add(homes.make_spec(), "new.yaml").id == 8, "7 was given, and is never given again"
    aside = [path for path in filled.root.glob("*.unreadable-*") if not path.name.endswith(("-wal", "-shm"))]
    assert [path.read_bytes() for path in aside] == ([] if left is None else [left])


@pytest.mark.parametrize("lose", [not_a_database, truncated, bad_page, damaged_index, anothers])
def test_reading_commands_say_what_helps_and_change_nothing(filled: Home, lose: Callable[[Path], None]) -> None:
    lose(filled.database)
    before = filled.database.read_bytes()
    (finding,) = checks.check_jobs(filled)
    assert finding.level == "fail"
    assert finding.remedy.startswith("prefd start: it sets the database aside and rebuilds it from runs/")
    if lose is not_a_database:
        result = invoke(filled, "jobs")
        assert result.exit_code == 1
        assert "rebuilds it from runs/ when it is started" in " ".join(result.stderr.split())
    assert filled.database.read_bytes() == before


def test_a_lost_database_is_never_begun_anew_by_a_command(filled: Home) -> None:
    filled.database.unlink()
    for open_it in (JobTable.open, JobTable.open_readonly):
        with pytest.raises(Unreadable, match=r"it is gone, and there are jobs in runs/; the daemon sets it aside"):
            open_it(filled.database)
    assert not filled.database.exists()


def test_a_newer_schema_is_not_taken_for_damage(filled: Home) -> None:
    with sqlite3.connect(filled.database) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    with pytest.raises(JobTableError, match="written by a newer prefd"):
        open_table(filled)
    assert list(filled.root.glob("*.unreadable-*")) == []


def test_the_queues_pause_outlives_the_database(filled: Home) -> None:
    with JobTable.open(filled.database) as table:
        table.pause_queue()
        since = table.queue_paused_at()
    not_a_database(filled.database)
    with open_table(filled) as table:
        assert table.queue_paused_at() == since
        table.resume_queue()
    not_a_database(filled.database)
    with open_table(filled) as table:
        assert table.queue_paused_at() is None
    assert len(list(filled.root.glob("*.unreadable-*"))) == 2, "the second over nothing"


@pytest.mark.parametrize("moves", range(1, 5))
def test_a_crash_at_any_rename_ends_as_an_unbroken_rebuild(
    filled: Home, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    with JobTable.open_readonly(filled.database) as table:
        before = facts(table.list()[:6])
    not_a_database(filled.database)
    for suffix in ("-wal", "-shm"):
        filled.database.with_name(f"{filled.database.name}{suffix}").write_bytes(b"of the old one")
    real, left = rebuild.os.rename, [True] * moves

    def rename(source: object, target: object) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        real(source, target)  # type: ignore[arg-type]

    monkeypatch.setattr(rebuild.os, "rename", rename)
    try:
        open_table(filled).close()
    except KeyboardInterrupt:
        monkeypatch.setattr(rebuild.os, "rename", real)
        open_table(filled).close()
    with JobTable.open(filled.database) as table:
        table.check()
        assert facts(table.list()) == before
    (log,) = filled.root.glob("*.unreadable-*-wal")
    assert log.read_bytes() == b"of the old one", "what was not yet in the database may be all that is left of it"
    assert len(list(filled.root.glob("*.unreadable-*"))) == 3


# --- what the records alone do not say


def test_a_job_whose_record_lags_behind_its_outcome_does_not_run_again(filled: Home) -> None:
    RunDir(filled.job(3)).write_outcome("training", TrainingOutcome(ok=True, reason="trained 12 steps on 120 pairs"))
    not_a_database(filled.database)
    with open_table(filled) as table:
        job = table.get(3)
        assert (job.state, job.reason) == ("done", "trained 12 steps on 120 pairs")


def test_folders_without_a_record_give_what_their_results_say(filled: Home) -> None:
    for number in range(1, 7):
        (filled.job(number) / "job.json").unlink()
    (filled.job(4) / "spec.json").write_text('{"model"')  # nothing to go by
    (filled.job(5) / "job.json").write_text("[1]")
    homes.run_folder(filled, Job(**{**vars(homes.add_queued(filled, name="late")), "id": 9}))
    (filled.job(8) / "job.json").unlink()
    not_a_database(filled.database)
    with open_table(filled) as table:
        assert {job.id: job.state for job in table.list()} == {1: "done", 2: "failed", 3: "paused", 9: "paused"}
        assert table.get(3).reason.endswith("`prefd resume` lets it go on, `prefd cancel` does not")
        assert table.spec(3) == homes.make_spec()
        assert table.add(homes.make_spec(), "new.yaml").id == 10


def test_a_record_is_whole_at_every_change_and_written_again_when_one_is_lost(filled: Home) -> None:
    (filled.job(2) / "job.json").unlink()
    (filled.job(3) / "job.json").write_text("{")
    with open_table(filled) as table:
        table.write_records()
    for number, state in enumerate(("done", "failed", "training", "queued", "paused", "queued"), start=1):
        record = json.loads((filled.job(number) / "job.json").read_text())
        assert (record["row"]["state"], record["history"][-1][2]) == (state, state)


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["pause", "resume", "cancel", "retry", "train"])), max_size=8)
)
def test_whatever_was_asked_a_rebuilt_table_says_what_the_lost_one_said(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[int, str]]
) -> None:
    home = Home(tmp_path_factory.mktemp("home"))
    for name in "abc":
        homes.add_queued(home, name=name)
    with JobTable.open(home.database) as table:
        for number, what in actions:
            acts: dict[str, Callable[[int], object]] = {
                "pause": table.request_pause,
                "resume": table.resume,
                "cancel": table.request_cancel,
                "retry": table.retry,
                "train": lambda number: table.transition(number, "training"),
            }
            try:
                acts[what](number)
            except ValueError:  # not allowed from there
                continue
        before = facts(table.list())
        flags = [(job.cancel_requested, job.pause_requested) for job in table.list()]
    home.database.unlink()
    with open_table(home) as table:
        assert facts(table.list()) == before
        assert [(job.cancel_requested, job.pause_requested) for job in table.list()] == flags


# --- the daemon over it


def test_a_rebuild_that_the_disk_refuses_is_tried_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def refused_once(home: Home, table: JobTable, why: str) -> None:
        tried.append(why)
        if len(tried) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        rebuild.mend(home, table, why)

    monkeypatch.setattr(daemon, "mend", refused_once)
    with place.daemon():
        place.drop("a.yaml", name="done")
        place.wait_for("done")
        place.home.database.unlink()
        fake_worker.wait_for(lambda: len(tried) >= 2 and place.home.database.exists())
        place.drop("b.yaml", name="done")
        place.wait_for("done", "done")


def test_after_a_loss_each_job_goes_on_exactly_once(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    with place.daemon() as client:
        place.drop("a.yaml")
        place.drop("b.yaml", name="fail")
        fake_worker.wait_for(lambda: {job.state for job in place.jobs()} == {"done", "failed"})
        jobs = place.jobs()
        client.act_on_queue("pause")
        place.drop("c.yaml")
        place.wait_for(*(job.state for job in jobs), "queued")
        place.drop("d.yaml")
        place.wait_for(*(job.state for job in jobs), "queued", "queued")
        client.act("pause", 4)
        client.act_on_queue("resume")
        place.wait_for(*(job.state for job in jobs), "done", "paused")
    claimed = place.home.accepted / "01J00000000000000000000000-e.yaml"
    make_mark(claimed)
    claimed.write_text(place.spec().model_dump_json(exclude_unset=True))
    not_a_database(place.home.database)
    with caplog.at_level(logging.WARNING), place.daemon():
        place.wait_for(*(job.state for job in jobs), "done", "paused", "done")
    starts = [len((place.home.job(number) / "starts.txt").read_text().splitlines()) for number in (1, 2, 3, 5)]
    assert sorted(starts[:2]) == [1, 2], "the one that failed did so in its first phase"
    assert starts[2:] == [2, 2]
    assert not (place.home.job(4) / "starts.txt").exists()
    assert "5 jobs" not in caplog.text
    assert "4 jobs rebuilt from runs/" in caplog.text


@pytest.mark.parametrize("lose", [removed, emptied])
def test_a_database_that_is_taken_from_a_running_daemon_is_rebuilt(place: Place, lose: Callable[[Path], None]) -> None:
    with place.daemon():
        place.drop("a.yaml")
        place.wait_for("done")
        lose(place.home.database)
        fake_worker.wait_for(lambda: place.home.database.exists() and place.home.database.stat().st_size > 0)
        place.drop("b.yaml")
        place.wait_for("done", "done")


def test_a_database_lost_under_a_running_daemon_is_rebuilt_and_it_goes_on(place: Place) -> None:
    with place.daemon():
        place.drop("a.yaml")
        place.wait_for("done")
        database = place.home.database
        for path in (database, database.with_name(f"{database.name}-wal"), database.with_name(f"{database.name}-shm")):
            path.write_bytes(b"x" * path.stat().st_size)  # in place: the daemon has these very files open
        place.drop("b.yaml")
        fake_worker.wait_for(lambda: [*place.home.root.glob("*.unreadable-*")] != [])
        place.wait_for("done", "done")
