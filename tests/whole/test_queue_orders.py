"""Whose turn it is, in a running daemon: pauses, priorities, dependencies, groups."""

import os
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from prefd.daemon.control.control_error import ControlError
from prefd.daemon.jobs.table import JobTable
from support import fake_worker
from support.quick_timing import QUICK_TIMING
from support.running_daemon import QUICK, Place


def test_a_paused_job_gives_way_to_the_next_and_goes_on_when_resumed(place: Place) -> None:
    with place.daemon() as client:
        place.drop("a.yaml", name="once")
        place.drop("b.yaml")
        fake_worker.wait_for(lambda: "hello" in place.log(1) and len(place.jobs()) == 2)
        assert client.act("pause", 1).pause_requested
        paused, _ = place.wait_for("paused", "done")
        assert (paused.reason, paused.worker_pid, paused.pause_requested) == ("paused by you", None, False)
        assert "stopping" in place.log(1), "its worker was told, and saved its state"
    with place.daemon() as client:
        place.drop("c.yaml")
        place.wait_for("paused", "done", "done")
        client.act("resume", 1)
        place.wait_for("done", "done", "done")
    with JobTable.open_readonly(place.home.database) as table:
        assert ("queued", "resumed by you") in [(event.state, event.reason) for event in table.history(1)]


def test_a_paused_queue_starts_nothing_over_a_restart_and_lets_what_runs_go_on(place: Place) -> None:
    with place.daemon() as client:
        place.drop("a.yaml", name="sleep")
        fake_worker.wait_for(lambda: "hello" in place.log(1))
        assert client.act_on_queue("pause").jobs == []
        place.drop("b.yaml")
        place.wait_for("precomputing", "queued")
        since = client.status().queue.paused_at
        client.act("cancel", 1)
        place.wait_for("cancelled", "queued")
    with place.daemon() as client:
        assert client.status().queue.paused_at == since
        place.drop("c.yaml")
        fake_worker.wait_for(lambda: len(place.jobs()) == 3)
        assert [job.state for job in place.jobs()] == ["cancelled", "queued", "queued"]
        client.act_on_queue("resume")
        place.wait_for("cancelled", "done", "done")


def test_all_pauses_the_running_job_too_and_resumes_it(place: Place) -> None:
    with place.daemon() as client:
        place.drop("a.yaml", name="once")
        place.drop("b.yaml")
        fake_worker.wait_for(lambda: "hello" in place.log(1) and len(place.jobs()) == 2)
        assert [job.id for job in client.act_on_queue("pause-all").jobs] == [1]
        place.wait_for("paused", "queued")
        assert [job.id for job in client.act_on_queue("resume-all").jobs] == [1]
        place.wait_for("done", "done")


def test_a_cancelled_job_is_retried_by_the_daemon(place: Place) -> None:
    with place.daemon() as client:
        place.drop("a.yaml", name="once")
        fake_worker.wait_for(lambda: "hello" in place.log(1))
        client.act("cancel", 1)
        place.wait_for("cancelled")
        client.act("retry", 1)
        (done,) = place.wait_for("done")
        assert done.attempt == 2


@pytest.mark.parametrize("name", ["sleep", "crash"])
def test_a_cancel_that_is_written_past_the_daemon_is_seen(place: Place, name: str) -> None:
    """By a command that met no daemon, because it was just starting; `crash` waits to be tried again."""
    place.timing = replace(QUICK_TIMING, crash_waits=(60.0, 60.0))
    with place.daemon():
        place.drop("a.yaml", name=name)
        fake_worker.wait_for(lambda: "hello" in place.log(1) and (name == "sleep" or place.jobs("queued") != []))
        with JobTable.open(place.home.database) as table:
            table.request_cancel(1)
        place.wait_for("cancelled")
        place.drop("b.yaml")
        place.wait_for("cancelled", "done")


def test_jobs_run_by_priority_and_after_those_they_name(place: Place) -> None:
    with place.daemon() as client:
        client.act_on_queue("pause")
        place.drop("a.yaml")
        fake_worker.wait_for(lambda: len(place.jobs()) == 1)
        place.drop("b.yaml", priority=5, after=[1])
        fake_worker.wait_for(lambda: len(place.jobs()) == 2)
        place.drop("c.yaml", priority=1)
        fake_worker.wait_for(lambda: len(place.jobs()) == 3)
        paused = "the queue is paused by you"
        reasons = [paused, f"{paused}; waits for job 1", paused]
        fake_worker.wait_for(lambda: [job.waiting for job in place.jobs()] == reasons)
        client.act_on_queue("resume")
        jobs = place.wait_for("done", "done", "done")
    assert [job.id for job in sorted(jobs, key=lambda job: job.started_at or 0)] == [3, 1, 2]


def test_a_job_after_one_that_fails_fails_with_its_own_dependents(place: Place) -> None:
    with place.daemon() as client:
        client.act_on_queue("pause")
        place.drop("a.yaml", name="fail")
        fake_worker.wait_for(lambda: len(place.jobs()) == 1)
        place.drop("b.yaml", after=[1])
        fake_worker.wait_for(lambda: len(place.jobs()) == 2)
        place.drop("c.yaml", after=[2])
        fake_worker.wait_for(lambda: len(place.jobs()) == 3)
        client.act_on_queue("resume")
        *_, second, third = place.wait_for("failed", "failed", "failed")
        assert second.reason == "job 1, which it was to run after, failed"
        assert third.reason == "job 2, which it was to run after, failed"


def test_a_job_after_one_that_is_cancelled_is_held_and_follows_the_one_that_is_handed_in_again(place: Place) -> None:
    with place.daemon() as client:
        place.drop("a.yaml", name="once")
        fake_worker.wait_for(lambda: "hello" in place.log(1))
        place.drop("b.yaml", after=[1])
        fake_worker.wait_for(lambda: len(place.jobs()) == 2)
        place.drop("c.yaml", after=[1])
        fake_worker.wait_for(lambda: [job.waiting for job in place.jobs()] == ["", *["waits for job 1"] * 2])
        client.act("cancel", 1)
        place.wait_for("cancelled", "queued", "queued")
        fake_worker.wait_for(lambda: all(job.waiting.startswith("held: job 1, ") for job in place.jobs()[1:]))
        place.drop("again.yaml")
        place.wait_for("cancelled", "queued", "queued", "done")
        client.edit(2, {"settings": {"after": [4]}})
        place.wait_for("cancelled", "done", "queued", "done")
        client.act("retry", 1)
        place.wait_for("done", "done", "done", "done")


def test_a_job_starts_when_its_moment_has_come(place: Place) -> None:
    moment = datetime.now() + timedelta(seconds=1)
    with place.daemon():
        place.drop("a.yaml", not_before=moment.isoformat())
        place.drop("b.yaml", not_before="2999-01-01 02:00")
        done, waits = place.wait_for("done", "queued")
        assert done.started_at is not None
        assert done.started_at >= moment.timestamp()
        offset = datetime(2999, 1, 1, 2).astimezone().isoformat(" ", "minutes")
        assert waits.waiting == f"not before {offset}"


def test_jobs_run_together_as_far_as_the_limits_allow(place: Place) -> None:
    limits = QUICK.model_copy(update={"parallel": 3, "groups": {"one": 1}})
    with place.daemon(limits) as client:
        place.drop("a.yaml", name="sleep@training", group="one")
        fake_worker.wait_for(lambda: "hello from training" in place.log(1))
        place.drop("b.yaml", group="one")
        place.drop("c.yaml", name="sleep@training")
        fake_worker.wait_for(lambda: len(place.jobs()) == 3)
        waits = next(job for job in place.jobs() if job.source.endswith("-b.yaml"))
        runs = next(job for job in place.jobs() if job.source.endswith("-c.yaml"))
        fake_worker.wait_for(lambda: "hello from training" in place.log(runs.id))
        assert [job.id for job in client.status().active] == [1, runs.id]
        fake_worker.wait_for(
            lambda: {job.id: job.waiting for job in place.jobs()}[waits.id].startswith("waits for job 1: group")
        )
        client.act("cancel", 1)
        fake_worker.wait_for(lambda: {job.id: job.state for job in place.jobs()}[waits.id] == "done")
        assert client.stop(10)
    assert {job.state for job in place.jobs()} == {"cancelled", "done", "queued"}
    with place.daemon() as client:
        fake_worker.wait_for(lambda: place.log(runs.id).count("hello from training") == 2)


def test_the_second_job_of_a_reference_waits_until_the_first_has_scored(place: Place) -> None:
    with place.daemon(QUICK.model_copy(update={"parallel": 4})) as client:
        place.drop("a.yaml", name="sleep")
        fake_worker.wait_for(lambda: "hello from precompute" in place.log(1))
        place.drop("b.yaml")
        message = "waits for job 1 to score with the same reference"
        fake_worker.wait_for(lambda: len(place.jobs()) == 2 and place.jobs()[1].waiting == message)
        other = fake_worker.model_folder(place.folder / "other")
        place.drop("c.yaml", reference={"model": str(other)})
        place.wait_for("precomputing", "queued", "done")
        place.drop("d.yaml", loss={"name": "cpo"})
        place.wait_for("precomputing", "queued", "done", "done")
        client.act("pause", 1)
        place.wait_for("paused", "done", "done", "done")


def test_what_cannot_be_asked_of_a_job_is_a_conflict_in_words(place: Place) -> None:
    with JobTable.open(place.home.database) as table:
        table.add(place.spec(), "a", owner=f"run:{os.getpid()}")
    with place.daemon() as client:
        with pytest.raises(ControlError, match=r"^job 1 is run by `prefd run` \(run:\d+\): end it there") as caught:
            client.act("pause", 1)
        assert caught.value.status == 409
