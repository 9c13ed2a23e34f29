"""`prefd run` runs one job in the foreground, without a daemon."""

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from prefd.daemon.jobs.table import Job
from prefd.daemon.queue.foreground import run_in_foreground
from prefd.daemon.queue.worker_process import lock_worker
from prefd.daemon.runs.run_folder import Progress
from prefd.daemon.specs.job_spec import JobSpec
from support import fake_worker
from support.child_processes import is_running
from support.programs import program_environment
from support.supervisor_harness import Bench, started


def foreground(bench: Bench, name: str, **more: Any) -> tuple[Job, list[str]]:
    spec = JobSpec.model_validate_json(fake_worker.spec_text(bench.folder, name))
    seen: list[str] = []

    def on_update(job: Job, progress: Progress | None) -> None:
        seen.append(job.state if progress is None else f"{job.state} {progress.done}/{progress.total}")
        if progress is not None and "interrupt" in more:
            signal.raise_signal(more["interrupt"])
        if progress is not None and more.get("cancel"):
            bench.table.request_cancel(job.id)

    job = run_in_foreground(bench.home, spec, "dir/spec.yaml", fake_worker.catalog(), on_update, worker=bench.worker)
    return job, seen


def test_run_in_the_foreground_needs_no_daemon_and_shows_its_progress(bench: Bench) -> None:
    job, seen = foreground(bench, "ok")
    assert (job.state, job.owner, job.source) == ("done", f"run:{os.getpid()}", "dir/spec.yaml")
    assert [state for state in seen if " " not in state] == ["precomputing", "training", "done"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_in_the_foreground_cancels(bench: Bench, number: signal.Signals) -> None:
    job, seen = foreground(bench, "sleep", interrupt=number)
    assert job.state == "cancelled"
    assert "precomputing 1/2" in seen
    assert not any(is_running(pid) for pid in bench.pids(job))


def test_a_cancel_of_another_process_reaches_the_foreground(bench: Bench) -> None:
    """It is written into the database by `prefd cancel`, or by the daemon that it asks: here by another connection."""
    job, _ = foreground(bench, "sleep", cancel=True)
    assert (job.state, job.reason) == ("cancelled", "cancelled while it ran")


def test_a_broken_foreground_leaves_no_running_job(bench: Bench) -> None:
    def broken(_: Job, progress: Progress | None) -> None:
        raise BrokenPipeError("stdout is gone")

    spec = JobSpec.model_validate_json(fake_worker.spec_text(bench.folder, "sleep"))
    with pytest.raises(BrokenPipeError):
        run_in_foreground(bench.home, spec, "a.yaml", fake_worker.catalog(), broken, worker=bench.worker)
    (job,) = bench.table.list()
    assert (job.state, job.reason) == ("failed", "`prefd run` broke off: BrokenPipeError: stdout is gone")


@pytest.mark.slow
def test_a_kill_of_the_supervising_process_leaves_the_lock_with_the_worker(bench: Bench) -> None:
    (bench.folder / "spec.json").write_text(fake_worker.spec_text(bench.folder, "deaf"))
    code = (
        "import json, sys; from pathlib import Path; from support import fake_worker\n"
        "from prefd.daemon.home.layout import Home; from prefd.daemon.specs.job_spec import JobSpec\n"
        "from prefd.daemon.queue.foreground import run_in_foreground\n"
        "spec = JobSpec.model_validate_json(Path(sys.argv[2]).read_text())\n"
        "run_in_foreground(Home(Path(sys.argv[1])), spec, 'x', fake_worker.catalog(), worker=json.loads(sys.argv[3]))"
    )
    arguments = [str(bench.home.root), str(bench.folder / "spec.json"), json.dumps(bench.worker)]
    with subprocess.Popen([sys.executable, "-c", code, *arguments], env=program_environment()) as parent:
        fake_worker.wait_for(lambda: bool(bench.table.list()) and started(bench, bench.table.get(1))())
        parent.kill()
    lock = bench.home.job(1) / ".worker.lock"
    assert lock_worker(lock) is None
    os.kill(bench.pids(bench.table.get(1))[0], signal.SIGKILL)
    fake_worker.wait_for(lambda: lock_worker(lock) is not None)
