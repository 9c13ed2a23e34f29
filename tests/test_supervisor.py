import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fakes
import pytest

from prefd.daemon import oom, supervisor
from prefd.daemon.catalog import Catalog
from prefd.daemon.frozen import frozen_spec
from prefd.daemon.home import Home
from prefd.daemon.jobs import Job, JobTable
from prefd.daemon.limits import WorkerLimits, usable_cpus
from prefd.daemon.process import lock_worker
from prefd.daemon.rundir import KEPT, Progress, RunDir
from prefd.daemon.spec import JobSpec
from prefd.daemon.stop import Stop
from prefd.daemon.supervisor import STOPPED_OUTSIDE, Supervisor, run_in_foreground


@pytest.fixture(autouse=True)
def _quick_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "TICK_SECONDS", 0.02)
    monkeypatch.setattr(supervisor, "CRASH_WAITS", (0.02, 0.05))


@dataclass
class Bench:
    """A home, a job table and a stand-in worker."""

    home: Home
    table: JobTable
    worker: tuple[str, ...]
    folder: Path

    def add(self, name: str, **more: Any) -> Job:
        spec = JobSpec.model_validate_json(fakes.spec_text(self.folder, name, **more))
        return self.table.add(spec, f"{len(self.table.list())}-{name}.yaml")

    def run(self, job: Job, catalog: Catalog | None = None, **more: Any) -> Job:
        """The job after one run; `during` is awaited beside it."""
        during: Callable[[], Any] | None = more.pop("during", None)
        runner = Supervisor(self.home, self.table, job.id, worker=self.worker, **more)

        async def both() -> Job:
            beside = asyncio.ensure_future(during()) if during else None
            ended = await asyncio.wait_for(runner.run(catalog or fakes.catalog()), 20)
            if beside:
                await beside
            return ended

        return asyncio.run(both())

    def starts(self, job: Job) -> list[str]:
        """The phases that were started, in order."""
        lines = (self.home.job(job.id) / "starts.txt").read_text().splitlines()
        return [line.split()[0] for line in lines]

    def pids(self, job: Job) -> list[int]:
        return [int(line.split()[1]) for line in (self.home.job(job.id) / "starts.txt").read_text().splitlines()]


@pytest.fixture
def bench(home: Path, tmp_path: Path) -> Iterator[Bench]:
    made = Home(home)
    made.create()
    with JobTable.open(made.database) as table:
        yield Bench(made, table, fakes.make_worker(tmp_path), tmp_path)


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
    assert supervisor.phases(spec, fakes.catalog()) == phases


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
    assert frozen_spec(RunDir(run)) == bench.table.spec(job.id)
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
    ("name", "said"),
    [
        ("mute", "the worker ended without saying how it went; its log ends:\nhello from precompute"),
        ("killed", "the worker was killed by SIGKILL, which neither prefd nor, as far as it tells, the system sent; its log ends:\nhello from precompute"),
        ("segfault", "the worker died of SIGSEGV; its log ends:\nhello from precompute"),
    ],
)  # fmt: skip
def test_a_worker_that_crashes_is_tried_three_times_and_the_reason_is_its_logs_end(
    bench: Bench, name: str, said: str
) -> None:
    job = bench.add(name)
    failed = bench.run(job)
    assert (failed.state, failed.reason) == ("failed", f"crashed 3 times without getting any further: {said}")
    assert bench.starts(job) == ["precompute"] * 3
    assert [event.reason for event in bench.table.history(job.id) if event.state == "queued"][1:] == [
        f"crash 1 of 3, tried again in 0.02 s from where it stood: {said}",
        f"crash 2 of 3, tried again in 0.05 s from where it stood: {said}",
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
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "CRASH_WAITS", (60.0, 60.0))
    job = bench.add("segfault")
    for _ in range(2):
        stop = Stop()

        async def during(stop: Stop = stop, starts: int = bench.table.get(job.id).crashes) -> None:
            while bench.table.get(job.id).crashes == starts:
                await asyncio.sleep(0.01)
            stop.request()

        assert bench.run(job, stop=stop, during=during).state == "queued"
    assert bench.run(job).reason.startswith("crashed 3 times")
    assert bench.table.retry(job.id).crashes == 0


@pytest.mark.parametrize("ask", ["request_cancel", "request_pause"])
def test_a_job_can_be_called_off_or_paused_while_it_waits_to_be_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, ask: str
) -> None:
    monkeypatch.setattr(supervisor, "CRASH_WAITS", (60.0, 60.0))
    job = bench.add("segfault")

    async def during() -> None:
        while bench.table.get(job.id).reason == "" or bench.table.get(job.id).state != "queued":
            await asyncio.sleep(0.01)
        getattr(bench.table, ask)(job.id)

    assert bench.run(job, during=during).state == ("cancelled" if ask == "request_cancel" else "paused")


# --- memory


def test_a_worker_that_takes_more_than_it_may_is_stopped_and_told_what_to_change(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oom, "LOOK_SECONDS", 0.0)
    job = bench.add("greedy")
    failed = bench.run(job, limits=WorkerLimits(memory="100MB"))
    assert failed.state == "failed"
    said = r"its worker took 0\.\d\d GB, and worker\.memory allows 100MB\. Make the job smaller and submit it again: "
    assert re.match(said + r"training\.grad_checkpoint: true .*; or a larger worker\.memory in ", failed.reason)
    assert bench.starts(job) == ["precompute"]
    assert bench.run(bench.add("ok"), limits=WorkerLimits(memory="100MB")).state == "done"


def test_an_allocation_that_failed_is_named_and_not_tried_again(bench: Bench) -> None:
    job = bench.add("starved")
    failed = bench.run(job)
    assert failed.reason.startswith("the worker ran out of memory (std::bad_alloc); it took ")
    assert bench.starts(job) == ["precompute"]


def test_a_kill_that_the_system_counted_is_named_and_not_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter([4, 5])
    monkeypatch.setattr(oom, "kills", lambda: next(counts))
    job = bench.add("killed")
    failed = bench.run(job)
    assert failed.reason.startswith("the system ran out of memory and killed the worker; it took 0.0")
    assert "training.grad_checkpoint: true" in failed.reason
    assert bench.starts(job) == ["precompute"]


def test_limits_reach_the_worker(bench: Bench) -> None:
    job = bench.add("environment")
    bench.run(job, limits=WorkerLimits(cpus=1, nice=5))
    told = json.loads((bench.home.job(job.id) / "told.json").read_text())
    assert told["PREFD_WORKER_NICE"] == "5"
    assert int(told["PREFD_WORKER_CPUS"]) in usable_cpus()
    assert (told["OMP_NUM_THREADS"], told["OPENBLAS_NUM_THREADS"]) == ("1", "1")
    assert int(told["PREFD_PARENT"]) == os.getpid()


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
    fakes.wait_for(lambda: not is_running(child))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return sys.platform != "linux"


# --- stop and cancel


def started(bench: Bench, job: Job) -> Callable[[], bool]:
    log = bench.home.job(job.id) / "worker.log"
    return lambda: log.exists() and "hello" in log.read_text()


def after_start(bench: Bench, job: Job, act: Callable[[], object]) -> Callable[[], Any]:
    async def during() -> None:
        while not started(bench, job)():
            await asyncio.sleep(0.01)
        act()

    return during


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
        await asyncio.sleep(0.1)
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
    before = {path.name for path in run.iterdir()} - set(KEPT)
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


# --- prefd run


def foreground(bench: Bench, name: str, **more: Any) -> tuple[Job, list[str]]:
    spec = JobSpec.model_validate_json(fakes.spec_text(bench.folder, name))
    seen: list[str] = []

    def on_update(job: Job, progress: Progress | None) -> None:
        seen.append(job.state if progress is None else f"{job.state} {progress.done}/{progress.total}")
        if progress is not None and "interrupt" in more:
            signal.raise_signal(more["interrupt"])

    job = run_in_foreground(bench.home, spec, "dir/spec.yaml", fakes.catalog(), on_update, worker=bench.worker)
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


def test_a_broken_foreground_leaves_no_running_job(bench: Bench) -> None:
    def broken(_: Job, progress: Progress | None) -> None:
        raise BrokenPipeError("stdout is gone")

    spec = JobSpec.model_validate_json(fakes.spec_text(bench.folder, "sleep"))
    with pytest.raises(BrokenPipeError):
        run_in_foreground(bench.home, spec, "a.yaml", fakes.catalog(), broken, worker=bench.worker)
    (job,) = bench.table.list()
    assert (job.state, job.reason) == ("failed", "`prefd run` broke off: BrokenPipeError: stdout is gone")


@pytest.mark.slow
def test_a_kill_of_the_supervising_process_leaves_the_lock_with_the_worker(bench: Bench) -> None:
    (bench.folder / "spec.json").write_text(fakes.spec_text(bench.folder, "deaf"))
    code = (
        "import json, sys; from pathlib import Path; import fakes\n"
        "from prefd.daemon.home import Home; from prefd.daemon.spec import JobSpec\n"
        "from prefd.daemon.supervisor import run_in_foreground\n"
        "spec = JobSpec.model_validate_json(Path(sys.argv[2]).read_text())\n"
        "run_in_foreground(Home(Path(sys.argv[1])), spec, 'x', fakes.catalog(), worker=json.loads(sys.argv[3]))"
    )
    arguments = [str(bench.home.root), str(bench.folder / "spec.json"), json.dumps(bench.worker)]
    with subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=Path(__file__).parent) as parent:
        fakes.wait_for(lambda: bool(bench.table.list()) and started(bench, bench.table.get(1))())
        parent.kill()
    lock = bench.home.job(1) / ".worker.lock"
    assert lock_worker(lock) is None
    os.kill(bench.pids(bench.table.get(1))[0], signal.SIGKILL)
    fakes.wait_for(lambda: lock_worker(lock) is not None)
