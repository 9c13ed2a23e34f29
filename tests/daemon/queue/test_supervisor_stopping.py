"""How a job is stopped, paused, cancelled, and begun afresh."""

import asyncio
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.jobs.table import Job
from prefd.daemon.queue.phase_end import STOPPED_OUTSIDE
from prefd.daemon.queue.stop_request import Stop
from prefd.daemon.queue.worker_process import lock_worker
from prefd.daemon.runs.run_folder import CARRIED_OVER, Progress
from support.child_processes import is_running
from support.supervisor_harness import Bench, after_start, started


def test_the_daemons_stop_puts_the_job_back_and_it_goes_on(bench: Bench) -> None:
    job, stop = bench.add("once@training"), Stop()
    training = after_start(bench, job, lambda: None)

    async def during() -> None:
        await training()
        while len(bench.starts(job)) < 2 or bench.table.get(job.id).worker_pid is None:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        stop.request()

    back = bench.run(job, stop=stop, during=during)
    assert (back.state, back.worker_pid) == ("queued", None)
    assert back.reason == "stopped; it goes on from where it stood when the daemon is started again"
    assert back.phase_seconds["training"] > 0
    assert bench.run(job).state == "done"


def test_a_worker_that_ignores_sigterm_is_killed_after_the_grace(bench: Bench) -> None:
    job, stop = bench.add("deaf"), Stop()
    began = time.monotonic()
    back = bench.run(job, stop=stop, grace=0.3, during=after_start(bench, job, stop.request))
    assert back.state == "queued"
    assert 0.3 < time.monotonic() - began < 5


def test_a_second_request_does_not_wait_for_the_grace(bench: Bench) -> None:
    job, stop = bench.add("deaf"), Stop()

    def twice() -> None:
        stop.request()
        stop.request()

    assert bench.run(job, stop=stop, grace=60, during=after_start(bench, job, twice)).state == "queued"


@pytest.mark.parametrize("name", ["sleep", "deaf"])
def test_a_running_job_is_cancelled(bench: Bench, name: str) -> None:
    job = bench.add(name)
    cancel = after_start(bench, job, lambda: bench.table.request_cancel(job.id))
    ended = bench.run(job, grace=0.2, during=cancel)
    assert (ended.state, ended.reason) == ("cancelled", "cancelled while it ran")


def pause(bench: Bench, job: Job) -> None:
    bench.table.request_pause(job.id)


@pytest.mark.parametrize("name", ["sleep", "deaf"])
def test_a_running_job_is_paused_and_goes_on_from_there(bench: Bench, name: str) -> None:
    job = bench.add(f"{name}@training")

    async def during() -> None:
        while bench.table.get(job.id).state != "training" or bench.table.get(job.id).worker_pid is None:
            await asyncio.sleep(0.01)
        while len(bench.starts(job)) < 2:
            await asyncio.sleep(0.01)
        pause(bench, job)

    paused = bench.run(job, grace=0.2, during=during)
    assert (paused.state, paused.reason, paused.worker_pid) == ("paused", "paused by you", None)
    assert paused.phase_seconds["training"] > 0
    assert not any(is_running(pid) for pid in bench.pids(job)), "its memory is free"
    assert bench.run(job).state == "paused", "nothing starts it but a resume"
    assert bench.starts(job) == ["precompute", "training"]


def test_a_job_paused_as_its_first_phase_ends_starts_no_second(bench: Bench) -> None:
    job = bench.add("ok")
    real = bench.table.transition

    def transition(job_id: int, state: Any, *rest: Any) -> Job:
        if state == "training":
            bench.table.request_pause(job_id)
        return real(job_id, state, *rest)

    bench.table.transition = transition  # type: ignore[method-assign]
    assert bench.run(job).state == "paused"
    assert bench.starts(job) == ["precompute"]


def test_a_resume_before_the_worker_has_stopped_puts_the_job_back_in_the_queue(bench: Bench) -> None:
    job = bench.add("deaf")

    async def during() -> None:
        while not started(bench, job)():
            await asyncio.sleep(0.01)
        pause(bench, job)
        await asyncio.sleep(0.2)
        bench.table.resume(job.id)

    back = bench.run(job, grace=0.5, during=during)
    assert (back.state, back.reason) == ("queued", "resumed by you")


def test_a_stop_while_an_orphan_has_the_lock_fails_nothing(bench: Bench) -> None:
    job, stop = bench.add("ok"), Stop()
    orphan = lock_worker(bench.home.job(job.id) / ".worker.lock")
    assert orphan is not None

    async def during() -> None:
        await asyncio.sleep(0.1)
        stop.request()

    assert bench.run(job, stop=stop, grace=10, during=during).state == "queued"
    os.close(orphan)


def test_a_worker_stopped_from_outside_goes_back_but_not_for_ever(bench: Bench) -> None:
    job = bench.add("stopped")
    assert [bench.run(job).reason for _ in range(3)] == [
        STOPPED_OUTSIDE,
        STOPPED_OUTSIDE,
        "its worker was stopped from outside 3 times",
    ]
    assert bench.table.get(job.id).state == "failed"


def test_a_retry_counts_the_stops_from_outside_anew(bench: Bench) -> None:
    job = bench.add("stopped")
    for _ in range(3):
        bench.run(job)
    bench.table.retry(job.id)
    assert bench.run(job).state == "queued"


def leave_results(bench: Bench, job: Job) -> Path:
    """A folder as a failed training leaves it."""
    run = bench.home.job(job.id)
    (run / "checkpoints" / "step-00000004").mkdir(parents=True)
    (run / "metrics.jsonl").write_text('{"step": 1}\n')
    (run / "training.json").write_text('{"ok": false, "reason": "not finite"}')
    return run


def test_a_retry_finds_its_checkpoints_and_metrics_where_they_were(bench: Bench) -> None:
    job = bench.add("fail")
    run = leave_results(bench, job)
    assert bench.run(job).state == "failed"
    bench.table.retry(job.id)
    bench.run(job)
    assert (run / "checkpoints" / "step-00000004").is_dir()
    assert (run / "metrics.jsonl").exists()
    assert not (run / "attempts").exists()


def test_a_fresh_retry_sets_aside_what_was_there_and_keeps_the_log(bench: Bench) -> None:
    job = bench.add("fail")
    run = leave_results(bench, job)
    assert bench.run(job).state == "failed"
    for attempt in (2, 3):
        assert bench.table.retry(job.id, fresh=True).attempt == attempt
        assert not bench.run(job).fresh
    aside = run / "attempts" / "1"
    assert (aside / "checkpoints" / "step-00000004").is_dir()
    assert (aside / "metrics.jsonl").read_text() == '{"step": 1}\n'
    assert json.loads((aside / "training.json").read_text())["reason"] == "not finite"
    assert {path.name for path in run.iterdir()} >= {"spec.json", "worker.log", "attempts", "precompute.json"}
    assert not (run / "checkpoints").exists()
    assert (run / "worker.log").read_text().count("hello") == 3
    assert (run / "attempts" / "2" / "precompute.json").exists()


@pytest.mark.parametrize("moved", range(4))
def test_a_fresh_start_cut_off_at_any_move_ends_as_an_unbroken_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    job = bench.add("fail")
    run = leave_results(bench, job)
    bench.run(job)
    bench.table.retry(job.id, fresh=True)
    before = {path.name for path in run.iterdir()} - set(CARRIED_OVER)
    real, left = Path.rename, [True] * moved

    def rename(self: Path, target: Path) -> Path:
        if not left:
            raise KeyboardInterrupt  # as a kill would: nothing handles it
        left.pop()
        return real(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename)
        with pytest.raises(KeyboardInterrupt):
            bench.run(job)
    assert bench.table.get(job.id).fresh
    assert bench.run(job).state == "failed"
    assert {path.name for path in (run / "attempts" / "1").iterdir()} == before


def test_a_fresh_start_waits_for_an_orphan_and_a_stop_ends_the_wait(bench: Bench) -> None:
    job, stop = bench.add("fail"), Stop()
    bench.run(job)
    bench.table.retry(job.id, fresh=True)
    orphan = lock_worker(bench.home.job(job.id) / ".worker.lock")
    assert orphan is not None
    stop.request()
    back = bench.run(job, stop=stop, grace=10)
    assert (back.state, back.fresh) == ("queued", True)
    failed = bench.run(job, grace=0.1)
    assert failed.reason.endswith("end it, then `prefd retry 1`")
    os.close(orphan)


def test_a_job_never_has_two_workers(bench: Bench) -> None:
    job = bench.add("ok")
    orphan = lock_worker(bench.home.job(job.id) / ".worker.lock")
    assert orphan is not None
    failed = bench.run(job, grace=0.1)
    assert failed.state == "failed"
    assert "another worker still works in" in failed.reason
    assert not (bench.home.job(job.id) / "starts.txt").exists()

    second = bench.add("ok")
    held = lock_worker(bench.home.job(second.id) / ".worker.lock")
    assert held is not None
    threading.Timer(0.2, lambda: os.close(held)).start()
    assert bench.run(second, grace=10).state == "done"
    os.close(orphan)


def test_an_error_of_our_own_leaves_no_worker(bench: Bench) -> None:
    job = bench.add("sleep")

    def broken(_: Job, progress: Progress | None) -> None:
        if progress is not None:
            raise RuntimeError("a broken callback")

    with pytest.raises(RuntimeError, match="a broken callback"):
        bench.run(job, on_update=broken)
    assert not any(is_running(pid) for pid in bench.pids(job))
