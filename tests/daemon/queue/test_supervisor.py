import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.home.worker_limits import WorkerLimits
from prefd.daemon.jobs.table import Job
from prefd.daemon.machine.cpus import usable_cpus
from prefd.daemon.queue import memory_watch, phase_runner, supervisor
from prefd.daemon.queue.foreground import run_in_foreground
from prefd.daemon.queue.stop_request import Stop
from prefd.daemon.queue.worker_process import lock_worker
from prefd.daemon.runs.run_folder import Progress, RunDir
from prefd.daemon.runs.snapshot import read_frozen_spec
from prefd.daemon.specs.job_spec import JobSpec
from support import fake_worker
from support.programs import program_environment
from support.quick_timing import QUICK_TIMING
from support.supervisor_harness import Bench, is_running, started

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


# --- memory


HALVED = ["precompute"] * 4
"""A job's starts whose batches were halved three times, in vain."""
IN_VAIN = "though its batches were halved 3 times, "


def test_memory_that_ran_out_halves_the_batches_and_the_job_goes_on(bench: Bench) -> None:
    job = bench.add("short_of_memory@training")
    done = bench.run(job)
    assert done.state == "done"
    assert bench.starts(job) == ["precompute", "training", "precompute", "training", "precompute", "training"]
    assert bench.batches(job).halvings == 2
    reasons = [event.reason for event in bench.table.history(job.id) if "half the batch" in event.reason]
    assert len(reasons) == 2
    assert "with half the batch (2 of 3): the worker ran out of memory (Insufficient Memory)" in reasons[1]


def test_a_gpu_that_ends_passes_costs_no_job_and_passes_become_shorter(bench: Bench) -> None:
    display = bench.home.root / "display"
    display.touch()
    job = bench.add("interrupted")

    async def during() -> None:
        while bench.batches(job).halvings < 2:
            await asyncio.sleep(0.01)
        display.unlink()

    done = bench.run(job, during=during)
    assert done.state == "done"
    reasons = [event.reason for event in bench.table.history(job.id)]
    assert any("the GPU failed, which passes by itself: RuntimeError: [METAL] " in reason for reason in reasons)
    assert any("tried again in 0.02 s with shorter passes" in reason for reason in reasons), reasons


def test_a_gpu_that_failed_again_and_again_is_no_crash_of_the_job(bench: Bench) -> None:
    job = bench.add("unlucky")
    troubles: list[str] = []
    for _ in range(2):
        assert bench.run(job, on_device_trouble=troubles.append).state == "queued"
    done = bench.run(job, on_device_trouble=troubles.append)
    assert done.state == "done", done.reason  # though it crashed, once, after the GPU had failed four times
    assert len(troubles) == 2
    assert bench.batches(job).count_halvings("device") == 2


def test_a_job_that_only_tries_whether_the_gpu_still_fails_keeps_its_batches(bench: Bench) -> None:
    (bench.home.root / "display").touch()
    job = bench.add("interrupted")
    troubles: list[str] = []
    back = bench.run(job, on_device_trouble=troubles.append, tries_device=lambda: True)
    assert (back.state, len(troubles), bench.starts(job)) == ("queued", 1, ["precompute"])
    assert bench.batches(job).halvings == 0


def test_batches_that_the_gpu_has_halved_are_halved_as_often_again_for_memory(bench: Bench) -> None:
    job = bench.add("short_of_memory@training")
    for _ in range(3):
        bench.batches(job).add_halving("device")
    assert bench.run(job).state == "done"
    assert (bench.batches(job).count_halvings("memory"), bench.batches(job).halvings) == (2, 5)


def test_a_worker_that_says_it_has_no_memory_is_believed_though_the_gpu_then_refused_to_save(bench: Bench) -> None:
    job = bench.add("refused_when_short")
    done = bench.run(job)
    assert done.state == "done"
    reasons = [event.reason for event in bench.table.history(job.id)]
    assert any("with half the batch (1 of 3): the worker ran out of memory" in reason for reason in reasons), reasons
    assert bench.batches(job).count_halvings("device") == 0


def test_a_worker_that_the_gpu_aborts_is_known_by_its_last_words(bench: Bench) -> None:
    job = bench.add("aborted")
    assert bench.run(job).state == "done"
    assert (bench.batches(job).count_halvings("device"), bench.table.get(job.id).crashes) == (1, 1)
    reasons = [event.reason for event in bench.table.history(job.id)]
    assert any(reason.startswith("the GPU failed, which passes by itself: libc++abi: ") for reason in reasons), reasons


def test_a_worker_that_takes_more_than_it_may_is_stopped_and_told_what_to_change(
    bench: Bench,
) -> None:
    job = bench.add("greedy")
    attentive = replace(QUICK_TIMING, memory_look=0.0)
    failed = bench.run(job, limits=WorkerLimits(memory="100MB"), timing=attentive)
    assert failed.state == "failed"
    message = r"though its batches were halved 3 times, its worker took 0\.\d\d GB, and worker\.memory allows 100MB\. Make the job smaller and submit it again: "
    assert re.match(message + r"training\.grad_checkpoint: true .*; or a larger worker\.memory in ", failed.reason)
    assert bench.starts(job) == HALVED
    assert bench.run(bench.add("ok"), limits=WorkerLimits(memory="100MB")).state == "done"


def test_an_allocation_that_failed_is_named_and_tried_again_with_less(bench: Bench) -> None:
    job = bench.add("starved")
    failed = bench.run(job)
    assert failed.state == "failed"
    assert failed.reason.startswith(f"{IN_VAIN}the worker ran out of memory (std::bad_alloc); it took ")
    assert bench.starts(job) == HALVED


def test_a_retry_keeps_the_smaller_batches_and_may_halve_them_three_times_more(bench: Bench) -> None:
    """They are what fits; to begin with whole ones again would run out of memory three times first."""
    job = bench.add("starved")
    for attempt in (1, 2):
        assert bench.run(job).reason.startswith(IN_VAIN)
        assert bench.batches(job).count_halvings("memory") == 3 * attempt
        assert bench.starts(job) == HALVED * attempt
        reasons = [event.reason for event in bench.table.history(job.id) if "half the batch (3 of 3)" in event.reason]
        assert len(reasons) == attempt
        bench.table.retry(job.id)


def test_memory_that_runs_out_for_the_outputs_halves_nothing_and_names_the_adapter(bench: Bench) -> None:
    job = bench.add("too_large_to_fuse@training")
    failed = bench.run(job)
    assert (failed.state, bench.batches(job).halvings) == ("failed", 0)
    assert failed.reason.startswith(
        "crashed 3 times without getting any further: while the outputs were written, the worker ran"
    )
    assert f"What was trained is whole in {bench.home.job(job.id) / 'adapter'}" in failed.reason
    assert "grad_checkpoint" not in failed.reason


def test_a_kill_that_the_system_counted_is_named_and_tried_again_with_less(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phase_runner, "count_kills", lambda: 4)  # before the worker starts
    monkeypatch.setattr(memory_watch, "count_kills", lambda: 5)
    job = bench.add("killed")
    failed = bench.run(job)
    assert failed.reason.startswith(f"{IN_VAIN}the system ran out of memory and killed the worker; it took 0.0")
    assert "training.grad_checkpoint: true" in failed.reason
    assert bench.starts(job) == HALVED


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


# --- prefd run


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
