import itertools
import os
import threading
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.job import IllegalTransition, JobNotFound
from prefd.daemon.jobs.states import STATES, TABLE, State
from prefd.daemon.jobs.table import JobTable, JobTableError
from prefd.daemon.machine.processes import ProcessId
from prefd.daemon.runs.snapshot import freeze, read_frozen_spec
from prefd.daemon.specs.job_spec import JobSpec

SPEC = JobSpec.model_validate({"name": "a", "model": "m", "data": {"path": "p"}, "loss": {"name": "ipo", "beta": 0.5}})
ROUTES: dict[State, tuple[State, ...]] = {
    "queued": (), "precomputing": ("precomputing",), "training": ("training",), "live": ("live",),
    "paused": ("paused",), "done": ("training", "done"), "failed": ("failed",), "cancelled": ("cancelled",),
}  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.sqlite3"


def test_a_job_goes_through_its_states_and_keeps_its_history(path: Path) -> None:
    with JobTable.open(path) as table:
        job = table.add(SPEC, "01-a.yaml")
        assert (job.state, job.name, job.owner, job.started_at) == ("queued", "a", "daemon", None)
        table.transition(job.id, "precomputing", "scoring")
        table.set_worker(job.id, ProcessId(42, 1.5))
        assert table.get(job.id).worker_pid == 42
        table.transition(job.id, "training", "all scored", {"precompute": 2.0})
        table.transition(job.id, "queued", "stopped", {"training": 1.0})
        table.transition(job.id, "training")
        done = table.transition(job.id, "done", "trained", {"training": 3.0})
        assert (done.worker_pid, done.phase_seconds) == (None, {"precompute": 2.0, "training": 4.0})
        assert done.started_at is not None
        assert done.finished_at is not None
        assert done.created_at <= done.started_at <= done.finished_at
        assert [(event.state, event.reason) for event in table.history(job.id)] == [
            ("queued", ""), ("precomputing", "scoring"), ("training", "all scored"), ("queued", "stopped"),
            ("training", ""), ("done", "trained"),
        ]  # fmt: skip
        assert table.spec(job.id) == SPEC
        assert done.to_json()["phase_seconds"] == {"precompute": 2.0, "training": 4.0}


def test_a_kept_spec_says_only_what_its_file_said(path: Path) -> None:
    """A default that was written out would contradict an adapter's own rank."""
    spec = JobSpec.model_validate({"model": "m", "data": {"path": "p"}, "training": {"lora": {"scale": 4.0}}})
    with JobTable.open(path) as table:
        spec_text = table.spec(table.add(spec, "x").id)
    run = freeze(Home(path.parent), 1, spec_text)
    for each in (spec_text, read_frozen_spec(run)):
        assert each == spec
        assert each.training is not None
        assert each.training.lora.model_fields_set == {"scale"}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(STATES, STATES)))
def test_only_allowed_transitions_happen(before: State, after: State) -> None:
    with JobTable.open(Path(":memory:")) as table:
        job_id = table.add(SPEC, "x").id
        for step in ROUTES[before]:
            table.transition(job_id, step)
        if after in TABLE[before].may_become:
            assert table.transition(job_id, after).state == after
        else:
            with pytest.raises(IllegalTransition, match=f"job 1 is {before} and cannot become {after}"):
                table.transition(job_id, after)
            assert table.get(job_id).state == before


@given(st.lists(st.sampled_from(STATES), max_size=12))
def test_history_tells_exactly_the_moves_that_happened(moves: list[State]) -> None:
    with JobTable.open(Path(":memory:")) as table:
        job_id = table.add(SPEC, "x").id
        happened: list[State] = ["queued"]
        for state in moves:
            try:
                table.transition(job_id, state)
                happened.append(state)
            except IllegalTransition:
                pass
        assert [event.state for event in table.history(job_id)] == happened
        assert sum(table.counts().values()) == 1
        assert table.counts()[happened[-1]] == 1


def test_one_claimed_file_is_one_job_and_the_same_spec_twice_is_two(path: Path) -> None:
    with JobTable.open(path) as table:
        first = table.add(SPEC, "01-a.yaml")
        assert table.add(SPEC, "01-a.yaml").id == first.id
        assert table.add(SPEC, "02-a.yaml").id != first.id
        assert table.add(SPEC, "a.yaml", owner="run:7").id != table.add(SPEC, "a.yaml", owner="run:7").id
        assert table.sources() == {"01-a.yaml", "02-a.yaml"}


def test_jobs_are_listed_and_counted_by_state(path: Path) -> None:
    with JobTable.open(path) as table:
        assert table.list("queued") == []
        table.add(SPEC, "x", owner="run:7")
        second, third = table.add(SPEC, "b").id, table.add(SPEC, "c").id
        table.transition(second, "failed")
        assert table.states([second, third, 99]) == {second: "failed", third: "queued"}
        assert [job.id for job in table.list("queued", "failed")] == [1, second, third]
        assert table.counts() == {**dict.fromkeys(STATES, 0), "queued": 2, "failed": 1}


def test_cancel_is_at_once_for_a_queued_job_and_a_request_for_a_running_one(path: Path) -> None:
    with JobTable.open(path) as table:
        queued, running = table.add(SPEC, "a").id, table.add(SPEC, "b").id
        table.transition(running, "training")
        assert table.request_cancel(queued).state == "cancelled"
        assert table.request_cancel(queued).state == "cancelled"
        requested = table.request_cancel(running)
        assert (requested.state, requested.cancel_requested) == ("training", True)


def test_pause_is_at_once_for_a_queued_job_and_a_request_for_a_running_one(path: Path) -> None:
    with JobTable.open(path) as table:
        queued, running, done = (table.add(SPEC, source).id for source in "abc")
        table.transition(running, "precomputing")
        table.transition(done, "failed")
        assert (table.request_pause(queued).state, table.get(queued).reason) == ("paused", "paused by you")
        assert table.request_pause(running).pausing
        assert table.transition(running, "training").pause_requested, "it is still wanted in the next phase"
        assert table.put_back(running, "never seen", {"training": 2.0}).state == "paused"
        assert table.get(running).phase_seconds == {"training": 2.0}
        assert table.request_pause(done).state == "failed"
        assert table.list("queued") == []
        for job_id in (queued, running):
            assert (table.resume(job_id).state, table.get(job_id).reason) == ("queued", "resumed by you")
        assert table.resume(done).state == "failed"


def test_a_cancel_wins_over_a_pause_and_a_resume_takes_it_back(path: Path) -> None:
    with JobTable.open(path) as table:
        both, taken_back, paused = (table.add(SPEC, source).id for source in "abc")
        for job_id in (both, taken_back):
            table.transition(job_id, "training")
            table.request_pause(job_id)
        table.request_cancel(both)
        assert table.put_back(both, "stopped").reason == "cancelled while it ran"
        table.resume(taken_back)
        assert (table.put_back(taken_back, "stopped").state, table.get(taken_back).reason) == ("queued", "stopped")
        table.request_pause(paused)
        assert table.request_cancel(paused).state == "cancelled"
        assert table.request_cancel(taken_back).reason == "cancelled while it waited to go on"


def test_a_job_of_prefd_run_is_not_paused(path: Path) -> None:
    with JobTable.open(path) as table:
        theirs, ours = table.add(SPEC, "a", owner="run:7").id, table.add(SPEC, "b").id
        table.transition(theirs, "training")
        table.transition(ours, "training")
        with pytest.raises(
            IllegalTransition, match=r"job 1 is run by `prefd run` \(run:7\): end it there, with Ctrl-C"
        ):
            table.request_pause(theirs)
        assert [job.id for job in table.pause_queue(running_too=True)] == [ours]


def test_a_paused_queue_stays_so_in_the_file_and_every_job_says_it(path: Path) -> None:
    with JobTable.open(path) as table:
        table.add(SPEC, "a")
        assert table.queue_paused_at() is None
        assert table.pause_queue() == []
        since = table.queue_paused_at()
        table.pause_queue()
    with JobTable.open(path) as table:
        assert table.queue_paused_at() == since, "pausing again does not move the start"
        assert table.get(1).waiting == "the queue is paused by you"
        table.request_pause(1)
        assert table.get(1).waiting == ""
        assert table.resume_queue() == []
        assert table.get(1).state == "paused"
        assert [job.state for job in table.resume_queue(paused_too=True)] == ["queued"]
        table.pause_queue()
        table.resume_queue()
        assert table.get(1).waiting == ""


def test_what_a_spec_says_of_its_turn_is_in_the_job(path: Path) -> None:
    turn = {"priority": 5, "after": [1], "not_before": "2026-11-23T02:00+00:00"}
    with JobTable.open(path) as table:
        plain = table.add(SPEC, "a")
        assert (plain.priority, plain.after, plain.not_before, plain.waiting) == (0, (), None, "")
        job = table.add(JobSpec.model_validate(SPEC.model_dump(exclude_unset=True) | turn), "b")
        assert (job.priority, job.after, job.not_before) == (5, (1,), 1795399200.0)


def test_why_a_job_waits_is_told_until_it_moves(path: Path) -> None:
    with JobTable.open(path) as table:
        first, second = table.add(SPEC, "a").id, table.add(SPEC, "b").id
        table.transition(first, "training")
        table.set_waiting_reasons({first: "never seen", second: "waits for job 1", 99: "nobody"})
        assert [job.waiting for job in table.list()] == ["", "waits for job 1"]
        assert len(table.history(second)) == 1, "it is no change of state"
        assert table.transition(second, "training").waiting == ""


def test_a_retried_job_keeps_its_number_history_and_time(path: Path) -> None:
    with JobTable.open(path) as table:
        job_id = table.add(SPEC, "a").id
        table.transition(job_id, "training")
        table.request_cancel(job_id)
        table.put_back(job_id, "", {"training": 2.0})
        again = table.retry(job_id)
        assert (again.id, again.state, again.attempt, again.fresh) == (job_id, "queued", 2, False)
        assert (again.cancel_requested, again.finished_at, again.phase_seconds) == (False, None, {"training": 2.0})
        assert [event.state for event in table.history(job_id)] == ["queued", "training", "cancelled", "queued"]
        assert table.history(job_id)[-1].reason == "retried by you: it goes on from its last checkpoint"


def test_only_what_has_ended_is_retried_and_what_is_done_only_from_nothing(path: Path) -> None:
    with JobTable.open(path) as table:
        job_id = table.add(SPEC, "a").id
        with pytest.raises(IllegalTransition, match="job 1 is queued: only a job that has ended can be run again"):
            table.retry(job_id)
        table.transition(job_id, "training")
        table.transition(job_id, "done")
        with pytest.raises(IllegalTransition, match="job 1 is done: there is nothing to go on with; --fresh trains it"):
            table.retry(job_id)
        assert table.retry(job_id, fresh=True).fresh
        table.transition(job_id, "failed")
        assert table.retry(job_id).fresh, "what was to be set aside still is"
        table.clear_fresh(job_id)
        assert not table.get(job_id).fresh


def test_a_clients_model_is_not_run_anew_for_what_it_asked_is_gone(path: Path) -> None:
    with JobTable.open(path) as table:
        job_id = table.add(SPEC, f"live:{'0' * 32}:train:0").id
        table.transition(job_id, "live")
        table.transition(job_id, "failed")
        with pytest.raises(IllegalTransition, match="job 1 was a client's: what it asked is not kept"):
            table.retry(job_id, fresh=True)
        assert table.retry(job_id).state == "queued"
        table.transition(job_id, "live")
        table.transition(job_id, "done")
        with pytest.raises(IllegalTransition, match="let the client ask again"):
            table.retry(job_id)


def test_a_retried_job_of_prefd_run_becomes_the_daemons(path: Path) -> None:
    with JobTable.open(path) as table:
        jobs = [table.add(SPEC, "/specs/a.yaml", owner=f"run:{number}").id for number in (7, 8)]
        for job_id in jobs:
            table.transition(job_id, "failed")
            assert table.retry(job_id).owner == "daemon"
        assert [job.id for job in table.list("queued")] == jobs


def test_an_unknown_job_is_said_to_be(path: Path) -> None:
    with JobTable.open(path) as table:
        for ask in (
            table.get,
            table.spec,
            table.history,
            table.request_cancel,
            table.request_pause,
            table.resume,
            table.retry,
            table.put_back,
        ):
            with pytest.raises(JobNotFound, match="there is no job 7"):
                ask(7, *([""] if ask == table.put_back else []))  # type: ignore[operator]


def test_readers_need_no_daemon_and_see_what_is_committed(path: Path) -> None:
    with JobTable.open_readonly(path) as nothing:
        assert nothing.list() == []
    assert not path.exists()
    with JobTable.open(path) as writer:
        writer.add(SPEC, "a")
        with JobTable.open_readonly(path) as reader:
            writer.add(SPEC, "b")
            assert len(reader.list()) == 2
            with pytest.raises(JobTableError, match="readonly database"):
                reader.add(SPEC, "c")
    with JobTable.open_readonly(path) as reader:
        assert [job.source for job in reader.list()] == ["a", "b"]


def test_writers_in_two_processes_wait_for_each_other(path: Path) -> None:
    JobTable.open(path).close()

    def write(who: str) -> None:
        with JobTable.open(path) as table:
            for number in range(10):
                table.add(SPEC, f"{who}-{number}")

    threads = [threading.Thread(target=write, args=(who,)) for who in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with JobTable.open_readonly(path) as table:
        assert len(table.list()) == 20


def test_a_file_that_is_no_database_is_named_and_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"this is not a database, it only has its name" * 20)
    before = path.read_bytes()
    for opening in (JobTable.open, JobTable.open_readonly):
        with pytest.raises(JobTableError, match=r"jobs\.sqlite3: file is not a database; the daemon sets it aside"):
            opening(path)
    assert path.read_bytes() == before


def test_the_jobs_of_a_file_are_added_all_or_none_and_once(path: Path) -> None:
    specs = [SPEC.model_copy(update={"name": f"a-{number}", "group": "a"}) for number in range(3)]
    with JobTable.open(path) as table:
        with pytest.raises(ValueError, match="shorter"):
            table.add_all(specs, "01-a.yaml", descriptions=["x", "y"])
        assert table.list() == []
        first = table.add_all(specs, "01-a.yaml", descriptions=["x", "y", "z"])
        assert [(job.name, job.group, job.description) for job in first] == [
            *(("a-0", "a", "x"), ("a-1", "a", "y"), ("a-2", "a", "z"))
        ]
        assert table.add_all(specs, "01-a.yaml") == first, "after a crash the same file is claimed again"
        assert table.sources() == {"01-a.yaml"}
        assert len(table.list()) == 3


# --- the clock


def test_a_clock_set_back_a_day_turns_no_jobs_time_round(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with JobTable.open(path) as table:
        first = table.add(SPEC, "a")
        table.transition(first.id, "training")
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() - 86_400)
        second = table.add(SPEC, "b")
        done = table.transition(first.id, "done", phase_seconds={"training": 2.0})
        assert second.id > first.id
        assert second.created_at < first.created_at, "it was claimed when the clock said so"
        assert done.started_at is not None
        assert done.finished_at is not None
        assert first.created_at <= done.started_at <= done.finished_at
        moments = [event.at for event in table.history(first.id)]
        assert moments == sorted(moments)
        assert done.phase_seconds == {"training": 2.0}
        assert [job.id for job in table.list()] == [1, 2]


def test_a_job_of_prefd_run_is_alive_while_its_process_is_whatever_the_clock_says(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with JobTable.open(path) as table:
        table.add(SPEC, "a", owner=f"run:{os.getpid()}")
        monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: 5.0)
        assert table.get(1).owner_lives


def test_what_is_written_back_empties_the_drives_cache_on_macos(path: Path) -> None:
    with JobTable.open(path) as table:
        assert table._db.execute("PRAGMA checkpoint_fullfsync").fetchone()[0] == 1
