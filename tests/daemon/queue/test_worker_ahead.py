"""A worker that is there before its job does what one does that is started for it; and what no job takes is ended."""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.queue.foreground import run_in_foreground
from prefd.daemon.queue.worker_ahead import WorkerAhead
from prefd.daemon.runs.orders import Orders
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker.ahead import can_import_ahead
from support import fake_worker
from support.child_processes import is_running
from support.supervisor_harness import Bench

STAND_IN = """
import os, socket, sys
from prefd.daemon.runs.orders import Orders
print("said early", file=sys.stderr)
line = socket.socket(fileno=int(sys.argv[-1]))
orders = Orders.receive(line)
if orders is None:
    sys.exit()
orders.settle()
for descriptor in (line.fileno(), orders.lock, orders.steps):
    os.set_inheritable(descriptor, True)
os.execv({command!r}[0], [*{command!r}, *orders.arguments, "--next-phase", str(line.fileno())])
"""
"""Becomes the stand-in worker, as `prefd.daemon.worker` becomes one for a phase."""
SLEEPER = (sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)")


def start(bench: Bench, code: str) -> WorkerAhead:
    worker = WorkerAhead.start(bench.home, (sys.executable, "-c", code.format(command=bench.worker)))
    assert worker is not None
    return worker


def run(bench: Bench, ahead: WorkerAhead, name: str = "ok", **more: object) -> tuple[str, list[int], str]:
    """How a job ended, the pids of its phases, and its log."""
    spec = JobSpec.model_validate_json(fake_worker.spec_text(bench.folder, name, **more))
    with ahead:
        job = run_in_foreground(bench.home, spec, "spec.yaml", fake_worker.catalog(), worker=bench.worker, ahead=ahead)
    log = (bench.home.job(job.id) / "worker.log").read_text(encoding="utf-8")
    return job.state, bench.pids(job), log


def test_it_runs_the_phases_of_a_job_and_what_it_wrote_before_begins_the_log(bench: Bench) -> None:
    ahead = start(bench, STAND_IN)
    state, pids, log = run(bench, ahead)
    assert (state, set(pids)) == ("done", {ahead.pid})
    assert log.startswith("said early\n")
    assert not is_running(ahead.pid)


def test_one_that_is_gone_is_replaced_and_nobody_notices(bench: Bench) -> None:
    ahead = start(bench, "")
    fake_worker.wait_for(lambda: not is_running(ahead.pid))
    state, pids, _ = run(bench, ahead)
    assert state == "done"
    assert ahead.pid not in pids


def test_what_one_said_that_died_before_it_had_its_log_is_in_the_log(bench: Bench) -> None:
    dying = """import os, select, socket, sys
print("last words", file=sys.stderr, flush=True)
select.select([socket.socket(fileno=int(sys.argv[-1]))], [], [])
os.abort()"""
    ahead = start(bench, dying)
    state, pids, log = run(bench, ahead)
    assert state == "done", "another one is started"
    assert ahead.pid not in pids
    assert "last words\n" in log


def test_a_job_of_several_ranks_takes_none(bench: Bench) -> None:
    """They share the cores out before anything is imported. It does not stay beside them."""
    ended: list[bool] = []
    ahead = start(bench, STAND_IN)
    spec = JobSpec.model_validate_json(fake_worker.spec_text(bench.folder, "ok", ranks=2))
    with ahead:
        job = run_in_foreground(
            bench.home,
            spec,
            "spec.yaml",
            fake_worker.catalog(),
            lambda *_: ended.append(not is_running(ahead.pid)),
            worker=bench.worker,
            ahead=ahead,
        )
    state, pids = job.state, bench.pids(job)
    assert state == "done"
    assert ahead.pid not in pids
    assert set(ended) == {True}


def test_one_that_no_job_takes_is_ended(bench: Bench) -> None:
    worker = WorkerAhead.start(bench.home, SLEEPER)
    assert worker is not None
    with worker:
        assert is_running(worker.pid)
    assert not is_running(worker.pid)


def test_where_none_can_be_started_the_job_tells_of_it(bench: Bench) -> None:
    assert WorkerAhead.start(bench.home, (str(bench.folder / "absent"),)) is None


@pytest.mark.parametrize(
    ("limits", "can_import"),
    [("", True), ("cpus = 2", False), ("nice = 5", False), ('device = "cpu"', False), ("what = 1", False)],
)
def test_what_is_set_before_the_libraries_are_imported_waits_for_the_job(
    home: Path, limits: str, can_import: bool
) -> None:
    Home(home).create()
    Home(home).config.write_text(f"[worker]\n{limits}\n")
    assert can_import_ahead(Home(home)) is can_import


def test_orders_are_longer_than_a_message(bench: Bench) -> None:
    ours, theirs = socket.socketpair()
    sent = Orders(["training"], {"LONG": "x" * 10**6}, bench.folder, 0, 1, 2)
    with ours, theirs:
        sender = threading.Thread(target=sent.send, args=(ours,))
        sender.start()
        received = Orders.receive(theirs)
        sender.join()
    assert received is not None
    assert (received.arguments, received.environment, received.folder) == (["training"], sent.environment, bench.folder)
    for descriptor in (received.lock, received.steps, received.log):
        os.close(descriptor)
