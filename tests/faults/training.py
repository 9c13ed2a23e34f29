"""What can happen to a training run, done to one: killed at any moment, killed while it writes, its checkpoint damaged.

    PYTHONPATH=tests python -m faults.training kills|writes|damage FOLDER SETTINGS COUNT SEED

prints a JSON object of counts (`kills+writes`: one after the other, with one twin). Every run that goes on must end with the adapter and the losses of a twin that nothing
happened to. `test_training.py` runs a bounded share of it, `benchmarks/faults_training.py` all of it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from prefd.daemon.machine import blas

blas.preload()  # before anything imports mlx

from prefd.daemon.home.layout import Home
from prefd.daemon.runs.phases import Phase
from prefd.daemon.runs.step_memory import StepMemory, rescue_step, verify_rescued
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.phases import run_phases
from support.jobs_on_disk import make_job
from support.programs import program, program_environment
from support.sample_pairs import PAIRS
from support.tiny_model import build_llama

Counts = dict[str, int]

SETTINGS: dict[str, dict[str, Any]] = {
    "lora, adamw": {"learning_rate": 1e-3},
    "dora, muon, cosine with warmup, clipping, accumulation, dropout": {
        "iters": 16,
        "fine_tune": "dora",
        "optimizer": "muon",
        "learning_rate": 1e-3,
        "lr_schedule": {"name": "cosine_decay", "warmup": 0.2},
        "max_grad_norm": 0.5,
        "gradient_accumulation_steps": 2,
        "lora": {"rank": 4, "dropout": 0.2},
        "weight_decay": 0.1,
    },
    "full, adafactor": {"fine_tune": "full", "optimizer": "adafactor", "learning_rate": 1e-4, "num_layers": 1},
    "lora, lion, early stopping, the best checkpoint": {
        "optimizer": "lion",
        "learning_rate": 1e-3,
        "lora": {"rank": 4, "dropout": 0.3},
        "steps_per_eval": 5,
        "load_best_model_at_end": True,
        "early_stopping": {"metric": "eval_rewards/accuracies", "patience": 3},
    },
}
COMMON = {"batch_size": 2, "iters": 30, "save_every": 4, "seed": 3}


def run(fault: str, folder: Path, settings: str, count: int, seed: int = 0) -> Counts:
    """The counts of one fault, from a process of its own."""
    done = subprocess.run(
        program("faults.training", fault, folder, settings, count, seed),
        env=program_environment(),
        stdout=subprocess.PIPE,
        check=True,
    )
    counts: Counts = json.loads(done.stdout)
    return counts


@dataclass
class Twins:
    """Jobs of one spec, and what the first of them, which nothing happened to, came to."""

    home: Path
    spec: dict[str, Any]
    jobs: int = 0
    digest: str = ""
    losses: list[tuple[float, ...]] = field(default_factory=list)
    ends: Counts = field(default_factory=dict)

    @classmethod
    def begin(cls, folder: Path, settings: str) -> Twins:
        folder.mkdir(parents=True)
        pairs = folder / "pairs.jsonl"
        pairs.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS), encoding="utf-8")
        data = {"path": str(pairs), "validation": 0.25}
        training = COMMON | SETTINGS[settings]
        twins = cls(folder / "home", {"model": str(folder / "model"), "data": data, "training": training})
        in_child(build_llama, folder / "model")
        first = twins.job()
        assert twins.start("precompute", first).wait() == 0
        assert twins.start("training", first).wait() == 0
        twins.digest, twins.losses = adapter_digest(first), losses(first)
        outcome = first.run.outcome("training")
        assert outcome is not None
        assert outcome.summary.steps is not None
        assert outcome.summary.adapter_step is not None
        twins.ends = {"steps": outcome.summary.steps, "adapter of step": outcome.summary.adapter_step}
        return twins

    def job(self) -> RunningJob:
        self.jobs += 1
        return make_job(self.home, self.jobs, **self.spec)

    def start(self, phase: Phase, job: RunningJob, die_at: int = 0, keeps: bool = False) -> Worker:
        """`die_at`: the worker kills itself before its n-th operation on a file among the checkpoints. `keeps`: as a daemon's does."""
        return Worker(phase, job, die_at, StepMemory.open() if keeps else None)

    def compare(self, job: RunningJob, counts: Counts) -> None:
        """Let `job` go on to its end, and count whether it came to the same."""
        ended = self.start("training", job).wait() == 0
        counts["did not end"] += not ended
        counts["another adapter"] += not (ended and adapter_digest(job) == self.digest)
        counts["other losses"] += not (ended and losses(job) == self.losses)
        counts["left over"] += len(list(job.run.checkpoints.glob(".*")))
        shutil.rmtree(job.run.root)


class Worker:
    """A phase of a job in a process of its own."""

    def __init__(self, phase: Phase, job: RunningJob, die_at: int, memory: StepMemory | None = None) -> None:
        self.memory, self.run = memory, job.run
        variables = {} if memory is None else memory.environment()
        if memory is not None:
            os.set_inheritable(memory.descriptor, True)
        self.process = start_child(work, phase, str(job.home.root), int(job.run.root.name), die_at, variables)

    def kill(self, number: int = signal.SIGKILL) -> bool:
        """Whether it was still running. What it had kept in memory is in its job's folder then."""
        assert self.process.pid is not None
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, number)
        died = self.wait() == -number
        if self.memory is not None:
            with self.memory as memory:
                rescue_step(memory, self.run)
        return died

    def wait(self) -> int:
        self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode


def start_child(target: Callable[..., object], *arguments: object) -> BaseProcess:
    """A fork has everything imported already. It is safe as long as this process itself never computes with MLX."""
    if sys.platform == "linux":
        process: BaseProcess = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    else:
        process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    process.start()
    return process


def in_child(target: Callable[..., object], *arguments: object) -> None:
    process = start_child(target, *arguments)
    process.join()
    assert process.exitcode == 0


def work(phase: Phase, home: str, job_id: int, die_at: int, variables: dict[str, str]) -> None:
    os.environ.update(variables)
    log = os.open(Home(Path(home)).job(job_id) / "worker.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    if die_at:
        sys.addaudithook(dying(str(Home(Path(home)).job(job_id) / "checkpoints"), die_at))
    os._exit(run_phases(phase, Path(home), job_id))


def dying(folder: str, number: int) -> Callable[[str, tuple[Any, ...]], None]:
    left = number

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in OPERATIONS and any(folder in os.fspath(each) for each in arguments if isinstance(each, str | Path)):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return hook


OPERATIONS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")


def steps_done(job: RunningJob) -> int:
    return job.run.metrics.read_bytes().count(b"\n") if job.run.metrics.exists() else 0


def losses(job: RunningJob) -> list[tuple[float, ...]]:
    lines = [line for line in job.run.read_metrics() if "loss" in line]
    return [(line["step"], line["loss"], line["learning_rate"]) for line in lines]


def adapter_digest(job: RunningJob) -> str:
    return hashlib.sha256((job.run.adapter / "adapters.safetensors").read_bytes()).hexdigest()


def last_step(job: RunningJob) -> int:
    return max((int(line["step"]) for line in job.run.read_metrics()), default=0)


def kept_step(job: RunningJob) -> int:
    """The step from which the next worker goes on."""
    rescued = job.run.rescued_step
    return max(job.run.find_saved_step(), verify_rescued(rescued) if rescued.exists() else 0)


def zeros() -> Counts:
    return {"did not end": 0, "another adapter": 0, "other losses": 0, "left over": 0}


def kills(twins: Twins, count: int, rng: random.Random) -> Counts:
    """Kill a run at a random step, half of the runs a second time, and let it go on. Every second kill is a GPU's: an abort."""
    counts = {"kills": 0, "before the first checkpoint": 0, "steps repeated that were over": 0} | zeros()
    while counts["kills"] < count:
        job = twins.job()
        for _ in range(rng.randint(1, 2)):
            worker = twins.start("training", job, keeps=True)
            step = rng.randrange(twins.ends["steps"])
            while steps_done(job) < step and worker.process.is_alive():
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.05))
            counts["kills"] += worker.kill(rng.choice([signal.SIGKILL, signal.SIGABRT]))
            counts["steps repeated that were over"] += max(0, last_step(job) - kept_step(job))
            counts["before the first checkpoint"] += not any(job.run.checkpoints.glob("step-*"))
        twins.compare(job, counts)
    return counts


def writes(twins: Twins, count: int, rng: random.Random) -> Counts:
    """SIGKILL a run before `count` of the operations on files that its checkpoints are made of."""
    counts = {"kills": 0} | zeros()
    for number in sorted(rng.sample(range(1, 40), count)):
        job = twins.job()
        counts["kills"] += twins.start("training", job, number).wait() == -signal.SIGKILL
        twins.compare(job, counts)
    return counts


def damage(twins: Twins, count: int, rng: random.Random) -> Counts:
    """Kill a run late, and cut, flip or delete a file of its newest checkpoint, `count` times."""
    counts = {"damaged": 0, "not said": 0} | zeros()
    while counts["damaged"] < count:
        job = twins.job()
        worker = twins.start("training", job)
        while len(checkpoints := sorted(job.run.checkpoints.glob("step-*"))) < 2 and worker.process.is_alive():
            time.sleep(0.005)
        worker.kill()
        newest = max(job.run.checkpoints.glob("step-*")) if checkpoints else None
        if newest is None or job.run.adapter.exists():
            shutil.rmtree(job.run.root)
            continue
        harm(rng.choice(sorted(newest.iterdir())), rng)
        counts["damaged"] += 1
        log = job.run.log
        assert twins.start("training", job).wait() in (0, 1)
        counts["not said"] += f"{newest} is damaged" not in log.read_text(encoding="utf-8")
        twins.compare(job, counts)
    return counts


def harm(file: Path, rng: random.Random) -> None:
    content = file.read_bytes()
    offset = rng.randrange(len(content))
    match rng.choice(["cut", "flip", "delete"]):
        case "cut":
            file.write_bytes(content[:offset])
        case "flip":
            file.write_bytes(
                content[:offset] + bytes([content[offset] ^ (1 << rng.randrange(8))]) + content[offset + 1 :]
            )
        case "delete":
            file.unlink()


FAULTS = {"kills": kills, "writes": writes, "damage": damage}


def main() -> None:
    faults, folder, settings, count, seed = sys.argv[1].split("+"), Path(sys.argv[2]), *sys.argv[3:]
    shutil.rmtree(folder, ignore_errors=True)
    twins, rng = Twins.begin(folder, settings), random.Random(int(seed))
    counts = dict(twins.ends)
    for fault in faults:
        for name, number in FAULTS[fault](twins, int(count), rng).items():
            counts[name] = counts.get(name, 0) + number
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
