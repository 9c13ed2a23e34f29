"""Stopping, crashing and going on: no job is lost, and none runs twice."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from prefd.daemon.control.client import Client
from prefd.daemon.inbox.claim_marks import make_mark
from prefd.daemon.jobs.table import JobTable, JobTableError
from prefd.daemon.machine.processes import ProcessId
from prefd.daemon.queue import supervisor
from support import fake_worker
from support.running_daemon import SERVE, Place, answers, fail_first, process


def test_a_stop_puts_the_running_job_back_and_the_next_daemon_goes_on(place: Place) -> None:
    with place.daemon() as client:
        place.drop("a.yaml", name="once")
        place.drop("b.yaml")
        fake_worker.wait_for(lambda: "hello" in place.log(1) and len(place.jobs()) == 2)
        assert client.stop(wait_seconds=10)
    assert [job.state for job in place.jobs()] == ["queued", "queued"]
    with place.daemon():
        place.wait_for("done", "done")


def test_a_job_whose_end_could_not_be_written_is_put_back_and_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[Exception] = [JobTableError("the disk is full")] * 2
    fail_first(monkeypatch, JobTable, "transition", failures, lambda _, __, state, *___: state in ("done", "failed"))
    with place.daemon():
        place.drop("a.yaml")
        place.wait_for("done")
    assert failures == []


def test_a_job_found_running_after_a_crash_goes_on(place: Place) -> None:
    spec = place.spec()
    with JobTable.open(place.home.database) as table:
        for source in ("a", "b", "c", "d", "e"):
            table.add(spec, source)
        table.transition(1, "precomputing")
        table.transition(2, "training")
        table.request_cancel(2)
        table.transition(4, "training")
        table.request_pause(4)
        table.request_pause(5)
    with place.daemon():
        *_, paused, _ = place.wait_for("done", "cancelled", "done", "paused", "paused")
        assert paused.reason == "paused by you"
    with JobTable.open_readonly(place.home.database) as table:
        assert "the daemon ended while it ran; it goes on from where it stood" in [
            event.reason for event in table.history(1)
        ]


def test_the_worker_of_a_dead_daemon_is_ended_before_its_job_goes_on(place: Place) -> None:
    with JobTable.open(place.home.database) as table:
        job = table.add(place.spec(), "a")
        table.transition(job.id, "training")
        with subprocess.Popen(["sleep", "60"], cwd=place.home.job(job.id), start_new_session=True) as orphan:
            process_id = ProcessId.find(orphan.pid)
            assert process_id is not None
            table.set_worker(job.id, process_id)
            with place.daemon():
                place.wait_for("done")
                assert orphan.wait(60) == -signal.SIGTERM


def test_a_foreign_process_with_the_workers_old_pid_is_left_alone(place: Place) -> None:
    with JobTable.open(place.home.database) as table:
        job = table.add(place.spec(), "a")
        table.transition(job.id, "training")
        with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
            table.set_worker(job.id, ProcessId(stranger.pid, time.time() - 10_000))
            with place.daemon():
                place.wait_for("done")
            assert stranger.poll() is None
            stranger.kill()


def test_a_process_that_works_elsewhere_is_left_alone(place: Place) -> None:
    """Pid and start time are right: the home was copied, and the process is a worker of the home that it was copied from."""
    with JobTable.open(place.home.database) as table:
        job = table.add(place.spec(), "a")
        table.transition(job.id, "training")
        elsewhere = place.folder / "original" / "runs" / "1"
        elsewhere.mkdir(parents=True)
        with subprocess.Popen(["sleep", "60"], cwd=elsewhere, start_new_session=True) as stranger:
            process_id = ProcessId.find(stranger.pid)
            assert process_id is not None
            table.set_worker(job.id, process_id)
            with place.daemon():
                place.wait_for("done")
            assert stranger.poll() is None
            stranger.kill()


def test_a_claimed_file_without_a_row_becomes_its_job_after_a_restart(place: Place) -> None:
    name = "01J00000000000000000000000-a.yaml"
    (place.home.accepted / name).write_text(fake_worker.spec_text(place.folder, name=""))
    make_mark(place.home.accepted / name)
    for _ in range(2):
        with place.daemon():
            (job,) = place.wait_for("done")
            assert (job.source, job.name) == (name, "a")


def test_jobs_of_prefd_run_are_left_to_it_until_it_is_gone(place: Place) -> None:
    spec = place.spec()
    with JobTable.open(place.home.database) as table:
        table.transition(table.add(spec, "a", owner=f"run:{os.getpid()}").id, "training")
        table.transition(table.add(spec, "b", owner="run:4194305").id, "training")
        table.add(spec, "c", owner="run:nonsense")
    with place.daemon():
        _, gone, _ = place.wait_for("training", "failed", "failed")
        assert gone.reason == "the process that ran it (run:4194305) is gone"


def test_an_unexpected_failure_is_the_jobs_not_the_daemons(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    odd: list[Exception] = [RuntimeError("this cannot happen")]
    fail_first(monkeypatch, supervisor, "freeze_edited", odd, lambda _, job_id, *__: job_id == 1)
    with place.daemon():
        place.drop("a.yaml")
        place.wait_for("failed")
        place.drop("b.yaml")
        failed, _ = place.wait_for("failed", "done")
        assert failed.reason == "the daemon could not run it: RuntimeError: this cannot happen"


def test_a_failure_at_the_claim_is_tried_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[Exception] = [OSError(28, "No space left on device")] * 3
    fail_first(monkeypatch, JobTable, "add_all", failures)
    with place.daemon():
        place.drop("a.yaml")
        place.wait_for("done")
    assert failures == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(place: Place, number: signal.Signals) -> None:
    with process(place) as daemon:
        place.drop("a.yaml", name="sleep")
        fake_worker.wait_for(lambda: "hello" in place.log(1))
        daemon.send_signal(number)
        _, stderr = daemon.communicate(timeout=10)
        assert daemon.returncode == 0
        assert stderr.rstrip().endswith("INFO stopped")
        assert "Traceback" not in stderr
    (job,) = place.jobs()
    assert job.state == "queued"
    left = {path.name for path in place.home.run.iterdir()}
    assert left - {"catalog.json"} == {place.home.lock.name}, "no socket, and nothing that says who serves"


@pytest.mark.slow
def test_after_kill_9_the_job_goes_on_and_nothing_runs_twice(place: Place) -> None:
    with process(place) as daemon:
        place.drop("a.yaml", name="once")
        place.drop("b.yaml")
        fake_worker.wait_for(lambda: "hello" in place.log(1) and len(place.jobs()) == 2)
        daemon.kill()
        daemon.wait()
    with process(place):
        place.wait_for("done", "done")
    assert "stopping" in place.log(1)  # the orphan was told to save its state


@pytest.mark.slow
def test_after_kill_9_a_job_that_was_being_paused_is_paused(place: Place) -> None:
    with process(place) as daemon:
        place.drop("a.yaml", name="deaf")  # its worker takes all of the grace to end
        place.drop("b.yaml")
        fake_worker.wait_for(lambda: "hello" in place.log(1) and len(place.jobs()) == 2)
        Client(place.home).act("pause", 1)
        daemon.kill()
        daemon.wait()
        assert place.jobs()[0].state == "precomputing"
    with process(place):
        place.wait_for("paused", "done")


@pytest.mark.slow
def test_the_second_daemon_is_told_who_serves_the_home(place: Place) -> None:
    with process(place) as first:
        command = [sys.executable, "-c", SERVE, str(place.home.root), json.dumps(place.worker)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert second.returncode == 1
        assert f"AlreadyRunning: another daemon (pid {first.pid}, since" in second.stderr
        assert answers(Client(place.home))
