"""The worker as the supervisor sees it: a process with exit codes, outcomes, and nothing lost when it is killed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import psutil
import pytest

from prefd.daemon.runs.next_phase import ENDED, NextPhase
from prefd.daemon.runs.phases import Phase
from prefd.daemon.runs.snapshot import freeze
from prefd.daemon.worker import job as job_module
from prefd.daemon.worker import stopping
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.phases import run_phases
from prefd.daemon.worker.reference import scoring_pass
from support.array_memory import count_held_bytes
from support.jobs_on_disk import again, make_job, run_precompute

WORKER = [sys.executable, "-m", "prefd.daemon.worker"]
FLUSH_EVERY_BATCH = [
    sys.executable,
    "-c",
    """
from prefd.daemon.machine import blas
blas.preload()  # before anything imports mlx, or it scores with another BLAS than this process
from prefd.daemon.worker.reference import cache_fill, scoring_pass
from prefd.daemon.worker.__main__ import main
cache_fill.FLUSH_EVERY_S, scoring_pass.BATCH_TOKENS = 0, {"cpu": 64, "gpu": 64}
raise SystemExit(main())
""",
]


def run(phase: str, job: RunningJob, command: list[str] = WORKER) -> int:
    return start(phase, job, command).wait(timeout=120)


def start(phase: str, job: RunningJob, command: list[str] = WORKER) -> subprocess.Popen[bytes]:
    arguments = [*command, phase, "--home", str(job.home.root), "--job", job.run.root.name]
    with job.run.log.open("ab") as log:
        return subprocess.Popen(arguments, stdout=log, stderr=log)


def wait_until(holds: Callable[[], bool], timeout_s: float = 120) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def steps_done(job: RunningJob) -> int:
    return max((int(line["step"]) for line in job.run.read_metrics()), default=0)


def adapter_digest(job: RunningJob) -> str:
    return hashlib.sha256((job.run.adapter / "adapters.safetensors").read_bytes()).hexdigest()


@pytest.fixture
def job_of(home: Path, tiny_model: Path, pairs_file: Path) -> Callable[[int], RunningJob]:
    """A job of so many steps with a checkpoint at each fifth."""
    training = {"batch_size": 2, "learning_rate": 1e-3, "save_every": 5, "lora": {"dropout": 0.1}}
    spec: dict[str, Any] = {"model": str(tiny_model), "data": {"path": str(pairs_file)}}
    return lambda steps: make_job(home, **spec, training=training | {"iters": steps})


@pytest.mark.thorough  # the next test runs both in this process, whole/test_end_to_end.py a daemon's worker
def test_one_process_runs_both_phases_as_it_is_told(job_of: Callable[[int], RunningJob]) -> None:
    job = job_of(40)
    ours, theirs = socket.socketpair()
    with job.run.log.open("ab") as log, ours:
        with theirs:
            arguments = ["--home", str(job.home.root), "--job", "1", "--next-phase", str(theirs.fileno())]
            worker = subprocess.Popen([*WORKER, "precompute", *arguments], stderr=log, pass_fds=[theirs.fileno()])
        assert ours.recv(64) == ENDED
        first = job.run.outcome("precompute")
        assert first is not None
        assert (first.ok, job.run.adapter.exists()) == (True, False), "it waits"
        ours.sendall(b"training\n")
        assert ours.recv(64) == ENDED
        outcome = job.run.outcome("training")
        ours.close()  # there is no third phase
        assert worker.wait(timeout=120) == 0
    assert outcome is not None
    assert (outcome.ok, outcome.summary.steps) == (True, 40)
    progress = job.run.progress()
    assert progress is not None
    assert (progress.done, progress.total, progress.unit) == (40, 40, "steps")
    log_text = job.run.log.read_text()
    assert "completions/s" in log_text
    assert "s to go" in log_text


@dataclass(frozen=True)
class ArrayMemory:
    """Bytes of MLX's arrays: those alive, the most since the phase began, and freed buffers that it keeps."""

    active: int
    peak: int
    kept: int


class Line(NextPhase):
    """A supervisor that has the job trained, and looks at the memory of the worker that waits for it."""

    def __init__(self) -> None:
        self.looks = list[ArrayMemory]()

    def wait(self) -> Phase | None:
        peak = mx.get_peak_memory()
        self.looks.append(ArrayMemory(mx.get_active_memory(), peak, mx.get_cache_memory()))
        return "training" if len(self.looks) == 1 else None


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No signal of this process is watched, nor its parent."""
    monkeypatch.setattr(stopping, "watch_signals", threading.Event)
    monkeypatch.setattr(stopping, "watch_parent", lambda _: None)


def run_both(job: RunningJob) -> list[ArrayMemory]:
    line = Line()
    assert run_phases("precompute", job.home.root, 1, line) == 0
    return line.looks


@pytest.mark.usefixtures("in_this_process")
def test_no_model_is_in_memory_between_the_phases_and_training_counts_its_own_peak(
    job_of: Callable[[int], RunningJob], tiny_model: Path
) -> None:
    """One model in memory at a time: all that the reference took is given back before training begins."""
    weights = sum(path.stat().st_size for path in tiny_model.glob("*.safetensors"))
    before = count_held_bytes()
    between, after = run_both(job_of(2))
    assert max(between.active, after.active) - before < 0.01 * weights
    assert between.peak < 0.01 * weights
    assert (between.kept, after.kept) == (0, 0)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("is_changed", [False, True])
def test_the_pairs_are_tokenized_once_a_job_unless_their_file_changes_meanwhile(
    job_of: Callable[[int], RunningJob], monkeypatch: pytest.MonkeyPatch, pairs_file: Path, is_changed: bool
) -> None:
    prepared, real = list[int](), job_module.prepare

    def prepare(*arguments: Any) -> Any:
        prepared.append(1)
        if is_changed:
            pairs_file.write_text(pairs_file.read_text() + "\n")
        return real(*arguments)

    monkeypatch.setattr(job_module, "prepare", prepare)
    job = job_of(2)
    freeze(job.home, 1, job.spec, anew=True)
    assert len(run_both(job)) == 2
    assert len(prepared) == 1 + is_changed


@pytest.mark.usefixtures("in_this_process")
def test_a_failure_is_an_outcome_with_a_sentence(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    empty = tmp_path / "pairs.jsonl"
    rows = [{"prompt": "Same?", "chosen": "Yes.", "rejected": "Yes."}, {"prompt": "x", "chosen": "", "rejected": "y"}]
    empty.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = make_job(home, model=str(tiny_model), data={"path": str(empty)})
    assert run_phases("precompute", job.home.root, 1, Line()) == 1
    outcome = job.run.outcome("precompute")
    assert outcome is not None
    assert not outcome.ok
    for part in (
        "none of its 2 rows can be used",
        "identical sides (pairs.jsonl:1)",
        "empty completion (pairs.jsonl:2)",
    ):
        assert part in outcome.reason


def test_sigterm_saves_a_checkpoint_and_says_so(job_of: Callable[[int], RunningJob]) -> None:
    job = job_of(120)
    run_precompute(job)
    worker = start("training", job)
    wait_until(lambda: steps_done(job) >= 2)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=120) == 75
    assert job.run.outcome("training") is None
    newest = max(path.name for path in job.run.checkpoints.iterdir())
    assert int(newest.removeprefix("step-")) == steps_done(job)


@pytest.mark.slow
def test_a_worker_whose_parent_dies_saves_and_ends(job_of: Callable[[int], RunningJob]) -> None:
    job = job_of(120)
    run_precompute(job)
    program = (
        "import subprocess, sys, time\n"
        "print(subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid, flush=True)\n"
        "time.sleep(600)"
    )
    command = [*WORKER, "training", "--home", str(job.home.root), "--job", "1"]
    parent = subprocess.Popen([sys.executable, "-c", program, *command], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = psutil.Process(int(parent.stdout.readline()))
    wait_until(lambda: steps_done(job) >= 2)
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    assert steps_done(job) < 120 or job.run.adapter.exists()
    assert list(job.run.checkpoints.iterdir())


@pytest.mark.slow
@pytest.mark.thorough  # reference/test_precompute.py has a kill between chunks
def test_a_killed_precompute_keeps_what_it_committed(
    home: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run before it and the one that goes on are in this process: what they commit at the end is as durable."""
    monkeypatch.setattr(scoring_pass, "BATCH_TOKENS", {loading.device(): 64})
    rows = [
        {"prompt": f"Question {n}?", "chosen": f"Answer {n}, at some length.", "rejected": f"No answer {n}."}
        for n in range(100)
    ]
    path = tmp_path / "many.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec: dict[str, Any] = {"model": str(tiny_model), "data": {"path": str(path)}}
    unbroken = make_job(home.with_name("unbroken"), **spec)
    assert run_precompute(unbroken).summary.scored == 200
    job = make_job(home, **spec)
    worker = start("precompute", job, FLUSH_EVERY_BATCH)
    segments = job.store.folder
    wait_until(lambda: segments.is_dir() and len(list(segments.iterdir())) >= 3)
    worker.kill()
    assert worker.wait() == -signal.SIGKILL
    keys = [job.key(side) for each in job.examples for side in (each.chosen, each.rejected)]
    committed = len(keys) - len(job.store.missing(keys))
    assert 0 < committed < 200
    outcome = run_precompute(again(job))
    assert (outcome.summary.cached, outcome.summary.scored) == (committed, 200 - committed)
    for mine, theirs in zip(job.store.get(keys), unbroken.store.get(keys)):
        np.testing.assert_array_equal(mine, theirs)


def test_the_catalog_prints_json_alone(home: Path) -> None:
    home.mkdir()
    (home / "chatty.py").write_text('print("hello from a plugin")')
    (home / "config.toml").write_text('plugins = ["chatty.py"]')
    catalog = subprocess.run([*WORKER, "catalog", "--home", str(home)], stdout=subprocess.PIPE, check=True)
    *begun, answer = map(json.loads, catalog.stdout.splitlines())
    assert begun == [
        *[{"begin": None}] * 3,
        {"begin": str(home / "chatty.py"), "following": []},
        {"begin": None},
    ]
    assert answer["losses"]["ipo"]["params"]["beta"]["exclusiveMinimum"] == 0
