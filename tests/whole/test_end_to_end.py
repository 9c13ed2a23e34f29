"""The whole path as a user walks it: a daemon in its own process, spec files dropped into its folder, adapters out."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import mlx_lm
import psutil
import pytest
from mlx_lm.generate import main as generate

from prefd.daemon.runs.run_folder import RunDir
from support.daemon_process import Daemon
from support.homes import invoke
from support.jobs_on_disk import finished, make_job
from support.sample_pairs import PAIRS

pytestmark = pytest.mark.slow
LOSSES = ["sigmoid", "dpop"]
"""The second scores nothing. All eight: tests/daemon/worker/training/test_train.py; the tests below have cpo."""

LOCAL_PLUGIN = '''
"""A loss of one's own, in a file beside config.toml."""
import mlx.core as mx
from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import LossInput, LossOutput, reference_free

@reference_free
def margin(x: LossInput, *, target: float = 5.0) -> LossOutput:
    """Squared distance of the margin from a target."""
    chosen, rejected = x.policy_chosen.sums, x.policy_rejected.sums
    gap = chosen - rejected
    return LossOutput(mx.square(gap - target), mx.stop_gradient(chosen), mx.stop_gradient(rejected), {"gap": gap})

@hookimpl
def register_losses(register):
    register("margin", margin)
'''


@pytest.fixture
def daemon(home: Path, tiny_model: Path, pairs_file: Path) -> Iterator[Daemon]:
    """A daemon of the test's own, which may end it."""
    new_daemon = Daemon(home, tiny_model, pairs_file)
    yield new_daemon
    new_daemon.end()


@pytest.fixture(scope="module")
def shared_daemon(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Daemon]:
    """One that runs for several tests, with a plugin of one's own."""
    folder = tmp_path_factory.mktemp("shared")
    pairs = folder / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS), encoding="utf-8")
    new_daemon = Daemon(folder / "home", tiny_model, pairs)
    new_daemon.home.create()
    (new_daemon.home.root / "mine.py").write_text(LOCAL_PLUGIN)
    new_daemon.home.config.write_text('plugins = ["mine.py"]\n')
    new_daemon.start()
    yield new_daemon
    new_daemon.end()


def digest(adapter: Path) -> str:
    return hashlib.sha256((adapter / "adapters.safetensors").read_bytes()).hexdigest()


def lines_of(run: RunDir) -> int:
    """How many lines of metrics a run has written, which is what it has done for sure."""
    return run.metrics.read_bytes().count(b"\n") if run.metrics.exists() else 0


def test_dropped_specs_become_adapters_with_which_mlx_lms_own_command_generates(
    shared_daemon: Daemon, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = shared_daemon
    for loss in LOSSES:
        daemon.drop(loss, loss={"name": loss})
    jobs = daemon.until_ended(*LOSSES)
    assert {jobs[loss]["state"] for loss in LOSSES} == {"done"}, jobs
    scored = {
        loss: json.loads((daemon.run(loss).root / "precompute.json").read_text())["summary"]["scored"]
        for loss in LOSSES
    }
    assert sorted(scored.values()) == [0, 16]
    adapters = {loss: daemon.run(loss).adapter for loss in LOSSES}
    for adapter in adapters.values():
        model, _ = mlx_lm.load(str(tiny_model), adapter_path=str(adapter))
        assert mx.isfinite(model(mx.array([[5, 6, 7]]))).all()
    assert len({digest(adapter) for adapter in adapters.values()}) == len(LOSSES)
    command = ["mlx_lm.generate", "--model", str(tiny_model), "--prompt", "Hello", "--max-tokens", "4"]
    monkeypatch.setattr(sys, "argv", [*command, "--adapter-path", str(adapters["sigmoid"])])
    generate()
    assert "Generation: " in capsys.readouterr().out


@pytest.mark.thorough  # faults/test_daemon.py kills a daemon that trains
def test_a_killed_daemon_goes_on_after_a_restart_to_the_same_adapter(daemon: Daemon, tmp_path: Path) -> None:
    """The unbroken twin is trained in this process, beside the daemon's home."""
    training = {"iters": 60, "save_every": 5, "seed": 3}
    spec = daemon.spec | {"training": {"batch_size": 2, "learning_rate": 1e-3} | training}
    unbroken = finished(make_job(tmp_path / "unbroken", **spec))
    daemon.start()
    daemon.drop("broken", training=training)
    daemon.drop("waiting", training={"iters": 2}, loss={"name": "cpo"})
    broken = RunDir(daemon.home.job(1))
    daemon.until(lambda: lines_of(broken) >= 8)
    worker = daemon.jobs()["broken"]["worker_pid"]
    daemon.kill()
    daemon.until(lambda: not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE)
    daemon.start()
    jobs = daemon.until_ended("broken", "waiting")
    assert (jobs["broken"]["state"], jobs["waiting"]["state"]) == ("done", "done")
    assert digest(broken.adapter) == digest(unbroken.run.adapter)


@pytest.mark.thorough  # queue/ has each of them alone, training/test_run.py the bits
def test_a_job_paused_cancelled_and_retried_ends_with_the_unbroken_adapter(shared_daemon: Daemon) -> None:
    daemon = shared_daemon
    daemon.drop("it", training={"iters": 160, "save_every": 50, "seed": 3}, loss={"name": "cpo"})  # one phase is enough
    daemon.until(lambda: "it" in daemon.jobs())
    run, number = daemon.run("it"), str(daemon.jobs()["it"]["id"])

    def trains_on(past: int) -> int:
        daemon.until(lambda: lines_of(run) > past)
        return lines_of(run)

    trained = trains_on(4)
    worker = daemon.jobs()["it"]["worker_pid"]
    daemon.ask("pause", number)
    daemon.until(lambda: daemon.jobs()["it"]["state"] == "paused")
    assert not psutil.pid_exists(worker)
    daemon.ask("resume", number)
    trains_on(trained + 4)
    daemon.ask("cancel", number)
    daemon.until_ended("it")
    daemon.ask("retry", number)
    daemon.ask("wait", number)
    steps = [json.loads(line)["step"] for line in run.metrics.read_text().splitlines() if '"loss"' in line]
    assert steps == list(range(1, 161)), "every step once"
    assert invoke(daemon.home, "retry", number).exit_code == 1
    daemon.ask("retry", number, "--fresh")
    daemon.ask("wait", number)
    assert digest(run.root / "attempts" / "2" / "adapter") == digest(run.adapter)


@pytest.mark.thorough  # queue/test_supervisor_stopping.py has the daemon's half, worker/test_phases.py the worker's
def test_sigterm_puts_the_running_job_back_and_it_goes_on(daemon: Daemon) -> None:
    daemon.start()
    daemon.drop("long", training={"iters": 400, "save_every": 400}, loss={"name": "cpo"})
    run = RunDir(daemon.home.job(1))
    daemon.until(lambda: lines_of(run) >= 3)
    daemon.end()
    assert daemon.process is not None
    assert daemon.process.returncode == 0
    job = daemon.jobs()["long"]
    assert job["state"] == "queued"
    assert list(run.checkpoints.iterdir())
    os.truncate(daemon.home.log, 0)
    daemon.start()
    daemon.until(lambda: "going on from the checkpoint" in run.log.read_text())
    daemon.ask("cancel", "1")
    assert daemon.until_ended("long")["long"]["state"] == "cancelled"


@pytest.mark.thorough  # plugins/test_plugin_file.py and test_installed_plugin.py have both halves
def test_a_local_plugin_file_brings_a_loss_to_jobs(shared_daemon: Daemon) -> None:
    daemon = shared_daemon
    daemon.drop("local", loss={"name": "margin", "target": 2.0})
    daemon.drop("wrong", loss={"name": "margn"})
    jobs = daemon.until_ended("local")
    assert jobs["local"]["state"] == "done"
    assert "gap" in json.loads(daemon.run("local").metrics.read_text().splitlines()[0])
    daemon.until((daemon.home.rejected / "wrong.json.error.txt").exists)
    assert "did you mean margin" in (daemon.home.rejected / "wrong.json.error.txt").read_text()


@pytest.mark.thorough  # worker/test_phases.py has the sentences, test_recovery.py the next job
def test_every_failing_job_leaves_the_daemon_ready_for_the_next(shared_daemon: Daemon, tmp_path: Path) -> None:
    daemon = shared_daemon
    bad_rows = tmp_path / "bad.jsonl"
    bad_rows.write_text('{"prompt": "Same?", "chosen": "Yes.", "rejected": "Yes."}\n')
    daemon.drop("rows", data={"path": str(bad_rows)})
    daemon.drop("layers", training={"num_layers": 9}, loss={"name": "cpo"})
    daemon.drop("good", loss={"name": "cpo"})
    jobs = daemon.until_ended("rows", "layers", "good")
    assert jobs["rows"]["reason"].endswith("none of its 1 rows can be used: 1 × identical sides (bad.jsonl:1)")
    assert "training.num_layers is 9" in jobs["layers"]["reason"]
    assert [jobs[name]["state"] for name in ("rows", "layers", "good")] == ["failed", "failed", "done"]
