"""One worker process runs the phases of a job one after the other, and is gone when the job is."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.jobs.table import Job
from prefd.daemon.queue.job_worker import JobWorker
from prefd.daemon.queue.stop_request import Stop
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.specs.losses import Provision
from support import fake_worker
from support.child_processes import is_running
from support.supervisor_harness import Bench


def on_move_to_training(bench: Bench, act: Any) -> None:
    """Call `act` at the moment at which the worker waits, and the table is about to call the job training."""
    real = bench.table.transition

    def transition(job_id: int, state: Any, *rest: Any) -> Job:
        if state == "training":
            act(job_id)
        return real(job_id, state, *rest)

    bench.table.transition = transition  # type: ignore[method-assign]


def test_one_worker_runs_both_phases_and_is_gone_when_the_job_is_done(bench: Bench) -> None:
    job, waiting = bench.add("ok"), list[bool]()
    on_move_to_training(bench, lambda _: waiting.append(is_running(bench.pids(job)[0])))
    assert bench.run(job).state == "done"
    assert bench.starts(job) == ["precompute", "training"]
    first, second = bench.pids(job)
    assert (first == second, waiting) == (True, [True])
    assert not is_running(first)


def test_no_phase_begins_before_the_table_says_so(bench: Bench) -> None:
    job, began = bench.add("ok"), list[list[str]]()
    on_move_to_training(bench, lambda _: began.append(bench.starts(job)))
    bench.run(job)
    assert began == [["precompute"]]


def test_plugins_that_were_listed_anew_get_a_worker_that_imports_them(bench: Bench) -> None:
    job = bench.add("ok")
    assert bench.run(job, catalogs=[fake_worker.catalog(), fake_worker.catalog()]).state == "done"
    first, second = bench.pids(job)
    assert first != second
    assert not is_running(first)


def test_a_worker_that_dies_between_two_phases_is_replaced(bench: Bench) -> None:
    job = bench.add("ok")

    def kill(_: int) -> None:
        if len(bench.starts(job)) > 1:
            return  # the next try
        os.kill(bench.pids(job)[0], signal.SIGKILL)
        while is_running(bench.pids(job)[0]):
            pass

    on_move_to_training(bench, kill)
    done = bench.run(job)
    assert (done.state, bench.starts(job)[0], bench.starts(job)[-1]) == ("done", "precompute", "training")


@pytest.mark.parametrize("request_stop", ["cancel", "pause", "daemon"])
def test_a_request_between_two_phases_is_met_without_a_second_and_the_worker_is_gone(
    bench: Bench, request_stop: str
) -> None:
    job, stop = bench.add("ok"), Stop()
    acts = {
        "cancel": bench.table.request_cancel,
        "pause": bench.table.request_pause,
        "daemon": lambda _: stop.request(),
    }
    on_move_to_training(bench, acts[request_stop])
    ends = {"cancel": "cancelled", "pause": "paused", "daemon": "queued"}
    moved = bench.run(job, stop=stop)
    assert (moved.state, bench.starts(job)) == (ends[request_stop], ["precompute"])
    assert not is_running(bench.pids(job)[0])


def test_a_table_that_cannot_be_written_between_two_phases_leaves_no_worker(bench: Bench) -> None:
    job = bench.add("ok")

    def refuse(_: int) -> None:
        raise OSError("the disk is full")

    on_move_to_training(bench, refuse)
    with pytest.raises(OSError, match="the disk is full"):
        bench.run(job)
    assert bench.starts(job) == ["precompute"]
    assert not is_running(bench.pids(job)[0])


def test_a_worker_whose_supervisor_is_killed_while_it_waits_leaves(bench: Bench, tmp_path: Path) -> None:
    """The kernel closes the supervisor's end of the line, as `_line.close` does here."""
    job = bench.add("ok")
    run = RunDir(bench.home.job(job.id))
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    (run.root / "spec.json").write_text('{"name": "ok"}')

    async def wait_and_close() -> int:
        provision = Provision(fake_worker.catalog(), HandedSettings())
        arguments = ("precompute", "--home", str(bench.home.root), "--job", str(job.id))
        worker = await JobWorker.start(bench.worker, arguments, run, lock, {}, provision)
        assert await worker.wait_for_phase()
        worker._line.close()
        return await asyncio.wait_for(worker.process.wait(), 60)

    assert asyncio.run(wait_and_close()) == 0
    os.close(lock)
