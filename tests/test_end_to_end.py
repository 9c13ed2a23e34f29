"""The whole path as a user walks it: a daemon in its own process, spec files dropped into its folder, adapters out."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import psutil
import pytest

from prefd.daemon.home import Home

pytestmark = pytest.mark.slow
PREFD = [sys.executable, "-c", "from prefd.daemon.cli import cli; cli()"]
LOSSES = ["sigmoid", "dpop", "cpo_ipo"]  # all eight: test_training.py

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


class Daemon:
    """`prefd start` in a process, on a home under `root`."""

    def __init__(self, root: Path, model: Path, pairs: Path) -> None:
        self.home = Home(root)
        self.spec: dict[str, Any] = {"model": str(model), "data": {"path": str(pairs), "validation": 0.2}}
        self.process: subprocess.Popen[bytes] | None = None

    def prefd(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PREFD, "--home", str(self.home.root), *words], capture_output=True, text=True, check=False, timeout=120
        )

    def start(self) -> None:
        self.home.create()
        with self.home.log.open("ab") as log:
            command = [*PREFD, "--home", str(self.home.root), "start"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self.until(lambda: self.prefd("status").returncode == 0)

    def drop(self, name: str, **more: Any) -> None:
        training = {"batch_size": 2, "learning_rate": 1e-3} | more.pop("training", {})
        path = self.home.jobs / f"{name}.json"
        beside = self.home.root / f"{name}.writing"
        beside.write_text(json.dumps(self.spec | {"training": training} | more))
        beside.rename(path)

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Every job by its name; empty before the first."""
        listed = self.prefd("jobs", "--json")
        return {job["name"]: job for job in json.loads(listed.stdout)["jobs"]} if listed.returncode == 0 else {}

    def until_ended(self, *names: str) -> dict[str, dict[str, Any]]:
        ended = {"done", "failed", "cancelled"}
        self.until(lambda: all(self.jobs().get(name, {}).get("state") in ended for name in names), 240)
        return self.jobs()

    def until(self, holds: Any, timeout_s: float = 60) -> None:
        end = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < end, self.home.log.read_text()[-3000:]
            time.sleep(0.1)

    def adapter(self, name: str) -> Path:
        return self.home.job(self.jobs()[name]["id"]) / "adapter"

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)


@pytest.fixture
def daemon(home: Path, tiny_model: Path, pairs_file: Path) -> Iterator[Daemon]:
    made = Daemon(home, tiny_model, pairs_file)
    yield made
    made.end()


def digest(adapter: Path) -> str:
    return hashlib.sha256((adapter / "adapters.safetensors").read_bytes()).hexdigest()


def test_dropped_specs_become_adapters(daemon: Daemon, tiny_model: Path) -> None:
    daemon.start()
    for loss in LOSSES:
        daemon.drop(loss, loss={"name": loss})
    jobs = daemon.until_ended(*LOSSES)
    assert {job["state"] for job in jobs.values()} == {"done"}, jobs
    scored = {
        loss: json.loads((daemon.home.job(jobs[loss]["id"]) / "precompute.json").read_text())["summary"]["scored"]
        for loss in LOSSES
        if not loss.startswith("cpo")
    }
    assert sorted(scored.values()) == [0, 16]
    for loss in LOSSES:
        model, _ = mlx_lm.load(str(tiny_model), adapter_path=str(daemon.adapter(loss)))
        assert mx.isfinite(model(mx.array([[5, 6, 7]]))).all()
    assert len({digest(daemon.adapter(loss)) for loss in LOSSES}) == len(LOSSES)


def test_mlx_lms_own_command_generates_with_the_adapter(daemon: Daemon, tiny_model: Path) -> None:
    daemon.start()
    daemon.drop("one", training={"iters": 2})
    daemon.until_ended("one")
    command = [sys.executable, "-m", "mlx_lm", "generate", "--model", str(tiny_model), "--prompt", "Hello"]
    arguments = ["--adapter-path", str(daemon.adapter("one")), "--max-tokens", "4"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Generation: " in done.stdout


def test_a_killed_daemon_goes_on_after_a_restart_to_the_same_adapter(daemon: Daemon) -> None:
    training = {"iters": 60, "save_every": 5, "seed": 3}
    daemon.start()
    daemon.drop("unbroken", training=training)
    daemon.until_ended("unbroken")
    daemon.drop("broken", training=training | {"iters": 60})
    daemon.drop("waiting", training={"iters": 2})
    metrics = daemon.home.runs / "2" / "metrics.jsonl"
    daemon.until(lambda: metrics.exists() and metrics.read_text().count("\n") >= 8)
    worker = daemon.jobs()["broken"]["worker_pid"]
    daemon.kill()
    daemon.until(lambda: not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE)
    daemon.start()
    jobs = daemon.until_ended("broken", "waiting")
    assert (jobs["broken"]["state"], jobs["waiting"]["state"]) == ("done", "done")
    assert digest(daemon.adapter("broken")) == digest(daemon.adapter("unbroken"))


def test_a_job_paused_cancelled_and_retried_ends_with_the_unbroken_adapter(daemon: Daemon) -> None:
    daemon.start()
    daemon.drop("it", training={"iters": 240, "save_every": 50, "seed": 3}, loss={"name": "cpo"})  # one phase is enough
    metrics = daemon.home.runs / "1" / "metrics.jsonl"

    def ask(*words: str) -> None:
        done = daemon.prefd(*words)
        assert done.returncode == 0, done.stderr

    def trains_on(past: int) -> int:
        daemon.until(lambda: metrics.exists() and metrics.read_text().count("\n") > past)
        return metrics.read_text().count("\n")

    trained = trains_on(4)
    worker = daemon.jobs()["it"]["worker_pid"]
    ask("pause", "1")
    daemon.until(lambda: daemon.jobs()["it"]["state"] == "paused")
    assert not psutil.pid_exists(worker)
    ask("resume", "1")
    trains_on(trained + 4)
    ask("cancel", "1")
    daemon.until_ended("it")
    ask("retry", "1")
    ask("wait", "1")
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines() if '"loss"' in line]
    assert steps == list(range(1, 241)), "every step once"
    assert daemon.prefd("retry", "1").returncode == 1
    ask("retry", "1", "--fresh")
    ask("wait", "1")
    broken, unbroken = daemon.home.job(1) / "attempts" / "2" / "adapter", daemon.adapter("it")
    assert digest(broken) == digest(unbroken)


def test_sigterm_puts_the_running_job_back_and_it_goes_on(daemon: Daemon) -> None:
    daemon.start()
    daemon.drop("long", training={"iters": 400, "save_every": 400})
    metrics = daemon.home.runs / "1" / "metrics.jsonl"
    daemon.until(lambda: metrics.exists() and metrics.read_text().count("\n") >= 3)
    daemon.end()
    assert daemon.process is not None
    assert daemon.process.returncode == 0
    job = daemon.jobs()["long"]
    assert job["state"] == "queued"
    assert list((daemon.home.job(1) / "checkpoints").iterdir())
    os.truncate(daemon.home.log, 0)
    daemon.start()
    daemon.until(lambda: "going on from the checkpoint" in (daemon.home.job(1) / "worker.log").read_text())
    assert daemon.prefd("cancel", "1").returncode == 0
    assert daemon.until_ended("long")["long"]["state"] == "cancelled"


def test_a_local_plugin_file_brings_a_loss_to_jobs(daemon: Daemon) -> None:
    daemon.home.create()
    (daemon.home.root / "mine.py").write_text(LOCAL_PLUGIN)
    daemon.home.config.write_text('plugins = ["mine.py"]\n')
    daemon.start()
    daemon.drop("local", loss={"name": "margin", "target": 2.0})
    daemon.drop("wrong", loss={"name": "margn"})
    jobs = daemon.until_ended("local")
    assert jobs["local"]["state"] == "done"
    lines = [json.loads(line) for line in (daemon.home.job(1) / "metrics.jsonl").read_text().splitlines()]
    assert "gap" in lines[0]
    daemon.until((daemon.home.rejected / "wrong.json.error.txt").exists)
    assert "did you mean margin" in (daemon.home.rejected / "wrong.json.error.txt").read_text()


def test_every_failing_job_leaves_the_daemon_ready_for_the_next(daemon: Daemon, tmp_path: Path) -> None:
    bad_rows = tmp_path / "bad.jsonl"
    bad_rows.write_text('{"prompt": "Same?", "chosen": "Yes.", "rejected": "Yes."}\n')
    no_columns = tmp_path / "columns.jsonl"
    no_columns.write_text('{"question": "Q?", "good": "a", "bad": "b"}\n')
    daemon.start()
    daemon.drop("rows", data={"path": str(bad_rows)})
    daemon.drop("columns", data={"path": str(no_columns)})
    daemon.drop("layers", training={"num_layers": 9})
    daemon.drop("good")
    jobs = daemon.until_ended("rows", "columns", "layers", "good")
    assert jobs["rows"]["reason"].endswith("none of its 1 rows can be used: 1 × identical sides (bad.jsonl:1)")
    assert "has no column 'chosen' or 'rejected'; its columns: question, good, bad" in jobs["columns"]["reason"]
    assert "training.num_layers is 9" in jobs["layers"]["reason"]
    assert [jobs[name]["state"] for name in ("rows", "columns", "layers", "good")] == ["failed"] * 3 + ["done"]
