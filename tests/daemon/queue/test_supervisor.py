import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.home.worker_limits import WorkerLimits
from prefd.daemon.machine.cpus import usable_cpus
from prefd.daemon.queue import supervisor
from prefd.daemon.queue.stop_request import Stop
from prefd.daemon.runs.run_folder import Progress, RunDir
from prefd.daemon.runs.snapshot import read_frozen_spec
from prefd.daemon.specs.job_spec import JobSpec
from support import fake_worker
from support.child_processes import is_running
from support.quick_timing import QUICK_TIMING
from support.supervisor_harness import Bench

PATIENT = replace(QUICK_TIMING, crash_waits=(60.0, 60.0))

# --- the phases


@pytest.mark.parametrize(
    ("loss", "phases"),
    [
        ({"name": "cpo"}, ["training"]),
        ([{"name": "cpo"}, {"name": "cpo", "beta": 0.2}], ["training"]),
        ([{"name": "cpo"}, {"name": "ipo", "weight": 0.1}], ["precompute", "training"]),
    ],
)
def test_a_mixture_is_precomputed_for_where_any_part_needs_a_reference(loss: Any, phases: list[str]) -> None:
    spec = JobSpec.model_validate({"model": "m", "data": {"path": "p"}, "loss": loss, "training": {"iters": 1}})
    assert supervisor.plan_phases(spec, fake_worker.catalog()) == phases


def test_a_policy_that_is_its_own_reference_has_nothing_precomputed() -> None:
    document = {"model": "m", "data": {"path": "p"}, "training": {"iters": 1}, "reference": {"live": "adapter_off"}}
    assert supervisor.plan_phases(JobSpec.model_validate(document), fake_worker.catalog()) == ["training"]


def test_a_job_is_precomputed_then_trained_in_its_own_folder(bench: Bench) -> None:
    job = bench.add("ok")
    done = bench.run(job)
    assert (done.state, done.worker_pid) == ("done", None)
    assert bench.starts(job) == ["precompute", "training"]
    assert set(done.phase_seconds) == {"precompute", "training"}
    assert all(0 < seconds < 10 for seconds in done.phase_seconds.values())
    assert [(event.state, event.reason) for event in bench.table.history(job.id)] == [
        ("queued", ""),
        ("precomputing", ""),
        ("training", "reference: 0 of 16 completions scored"),
        ("done", "reference: 0 of 16 completions scored"),
    ]
    run = bench.home.job(job.id)
    assert read_frozen_spec(RunDir(run)) == bench.table.spec(job.id)
    assert (run / "worker.log").read_text() == "hello from precompute\nhello from training\n"


def test_without_training_the_job_ends_with_the_cache_filled(bench: Bench) -> None:
    job = bench.add("ok", training=None, loss={"name": "cpo"})
    assert bench.run(job).state == "done"
    assert bench.starts(job) == ["precompute"]


def test_a_loss_without_reference_needs_no_precompute(bench: Bench) -> None:
    job = bench.add("ok", loss={"name": "cpo"})
    assert bench.run(job).state == "done"
    assert bench.starts(job) == ["training"]


def test_a_loss_that_has_gone_since_fails_the_job_in_words(bench: Bench) -> None:
    failed = bench.run(bench.add("ok", loss={"name": "mine"}))
    assert failed.state == "failed"
    assert failed.reason.startswith("loss.name: no loss is called 'mine'")


# --- how it can end


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mute", "the worker ended without saying how it went; its log ends:\nhello from precompute"),
        ("killed", "the worker was killed by SIGKILL, which neither prefd nor, as far as it tells, the system sent; its log ends:\nhello from precompute"),
        ("segfault", "the worker died of SIGSEGV; its log ends:\nhello from precompute"),
    ],
)  # fmt: skip
def test_a_worker_that_crashes_is_tried_three_times_and_the_reason_is_its_logs_end(
    bench: Bench, name: str, message: str
) -> None:
    job = bench.add(name)
    failed = bench.run(job)
    assert (failed.state, failed.reason) == ("failed", f"crashed 3 times without getting any further: {message}")
    assert bench.starts(job) == ["precompute"] * 3
    assert [event.reason for event in bench.table.history(job.id) if event.state == "queued"][1:] == [
        f"crash 1 of 3, tried again in 0.02 s from where it stood: {message}",
        f"crash 2 of 3, tried again in 0.05 s from where it stood: {message}",
    ]
    assert bench.run(bench.add("ok")).state == "done"


def test_a_failure_that_has_its_reason_is_not_tried_again(bench: Bench) -> None:
    job = bench.add("fail")
    failed = bench.run(job)
    assert (failed.state, failed.reason) == ("failed", "data.path: no column called chosen")
    assert bench.starts(job) == ["precompute"]


def test_a_job_whose_worker_crashes_once_ends_well(bench: Bench) -> None:
    job = bench.add("shaky@training")
    assert bench.run(job).state == "done"
    assert bench.starts(job) == ["precompute", "training", "precompute", "training"]


def test_crashes_are_counted_anew_when_the_job_got_further(bench: Bench) -> None:
    job = bench.add("steps@training")
    assert bench.run(job).state == "done"
    assert bench.starts(job).count("training") == 6


def test_crashes_are_counted_over_a_restart_of_the_daemon_and_a_retry_counts_anew(
    bench: Bench,
) -> None:
    job = bench.add("segfault")
    for _ in range(2):
        stop = Stop()

        async def during(stop: Stop = stop, starts: int = bench.table.get(job.id).crashes) -> None:
            while bench.table.get(job.id).crashes == starts:
                await asyncio.sleep(0.01)
            stop.request()

        assert bench.run(job, stop=stop, during=during, timing=PATIENT).state == "queued"
    assert bench.run(job, timing=PATIENT).reason.startswith("crashed 3 times")
    assert bench.table.retry(job.id).crashes == 0


@pytest.mark.parametrize("ask", ["request_cancel", "request_pause"])
def test_a_job_can_be_called_off_or_paused_while_it_waits_to_be_tried_again(bench: Bench, ask: str) -> None:
    job = bench.add("segfault")

    async def during() -> None:
        while bench.table.get(job.id).reason == "" or bench.table.get(job.id).state != "queued":
            await asyncio.sleep(0.01)
        getattr(bench.table, ask)(job.id)

    assert bench.run(job, during=during, timing=PATIENT).state == ("cancelled" if ask == "request_cancel" else "paused")


def test_limits_reach_the_worker(bench: Bench) -> None:
    job = bench.add("environment")
    bench.run(job, limits=WorkerLimits(cpus=1, nice=5))
    surroundings = json.loads((bench.home.job(job.id) / "told.json").read_text())
    assert surroundings["PREFD_WORKER_NICE"] == "5"
    assert int(surroundings["PREFD_WORKER_CPUS"]) in usable_cpus()
    assert (surroundings["OMP_NUM_THREADS"], surroundings["OPENBLAS_NUM_THREADS"]) == ("1", "1")
    assert int(surroundings["PREFD_PARENT"]) == os.getpid()


def test_every_worker_goes_through_a_set_in_the_same_order(bench: Bench) -> None:
    job = bench.add("environment")
    bench.run(job)
    surroundings = json.loads((bench.home.job(job.id) / "told.json").read_text())
    command = [sys.executable, "-c", "print(*{'one', 'two', 'three', 'four', 'five', 'six'})"]
    variables = {"PYTHONHASHSEED": surroundings["PYTHONHASHSEED"]}
    assert len({subprocess.check_output(command, env=variables) for _ in range(3)}) == 1


def test_a_crash_shows_the_end_of_its_log(bench: Bench) -> None:
    failed = bench.run(bench.add("crash@training"))
    assert failed.state == "failed"
    first, *log = failed.reason.splitlines()
    assert first.endswith("further: the worker ended with exit code 1 and did not say why; its log ends:")
    assert log[-1] == "RuntimeError: an unexpected thing"
    assert "precompute" not in failed.reason


def test_an_old_outcome_is_never_taken_for_a_new_one(bench: Bench) -> None:
    job = bench.add("crash")
    (bench.home.job(job.id) / "precompute.json").write_text('{"ok": true, "reason": "old"}')
    assert bench.run(job).state == "failed"


def test_files_that_are_not_as_expected_do_not_break_the_supervisor(bench: Bench, tmp_path: Path) -> None:
    script = tmp_path / "odd.py"
    script.write_text(
        "import json, sys, time\n"
        "open('progress.json', 'w').write('{\"new\": 1}')\n"
        "time.sleep(0.1)\n"
        "open(sys.argv[1] + '.json', 'w').write('[1]')\n"
    )
    bench.worker = (sys.executable, "-I", "-S", str(script))
    shown: list[Progress | None] = []
    failed = bench.run(bench.add("ok"), on_update=lambda _, progress: shown.append(progress))
    assert failed.state == "failed"
    assert set(shown) == {None}


def test_a_worker_that_cannot_be_started_fails_the_job(bench: Bench) -> None:
    bench.worker = ("/no/such/python",)
    failed = bench.run(bench.add("ok"))
    assert failed.reason == "cannot start a worker (/no/such/python): No such file or directory"


def test_what_a_worker_leaves_behind_is_ended_with_it(bench: Bench, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "open('child', 'w').write(str(child.pid))\n"
        "open(sys.argv[1] + '.json', 'w').write('{\"ok\": true, \"reason\": \"\"}')\n"
    )
    bench.worker = (sys.executable, "-I", "-S", str(script))
    job = bench.add("ok", training=None)
    assert bench.run(job).state == "done"
    child = int((bench.home.job(job.id) / "child").read_text())
    fake_worker.wait_for(lambda: not is_running(child))
