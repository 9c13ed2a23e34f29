"""Phases of a job in worker processes of their own, as the daemon starts them, with as many ranks as its spec has."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.hosts import Host
from prefd.daemon.worker.job import RunningJob
from support.fake_worker import wait_for
from support.jobs_on_disk import metrics

NOT_COMPARED = {"tokens_per_second", "peak_memory_gb", "reduce_seconds", "rewards/accuracies"}
"""Times and sizes; and at step 1 the margins are nothing but rounding, so who wins is chance."""


@dataclass
class RankRun:
    """RankRun is a worker that runs, the first of its job's ranks."""

    job: RunningJob
    process: subprocess.Popen[str]

    @property
    def log(self) -> str:
        """What it and the other ranks have logged."""
        return self.job.run.log.read_text()

    def other_ranks(self) -> list[int]:
        """The process ids of the other ranks, once they have been started."""
        wait_for(lambda: "are starting (pids" in self.log, 60)
        match = re.findall(r"are starting \(pids (.+)\)", self.log)
        return [int(each.split()[0]) for each in match[-1].split(",")]

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(120)


def start_phase(job: RunningJob, phase: str, timeout: float = 60.0, hosts: tuple[Host, ...] = ()) -> RankRun:
    """Starts the worker of a phase; a rank may say nothing for `timeout` seconds."""
    with job.run.log.open("ab") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-X",
                "utf8",
                "-P",
                "-m",
                "prefd.daemon.worker",
                phase,
                "--home",
                str(job.home.root),
                "--job",
                "1",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=job.run.root,
            text=True,
            start_new_session=True,
            env=os.environ | HandedSettings(rank_timeout=timeout, hosts=hosts).environment(),
        )
    return RankRun(job, process)


def write_many_pairs(path: Path) -> Path:
    """So many that a pass is caught in the middle."""
    rows = [
        {"prompt": f"Count to {number}.", "chosen": f"{number} it is. " * 8, "rejected": f"Not {number}. " * 9}
        for number in range(300)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def count_done(job: RunningJob) -> int:
    """How many completions have been scored."""
    progress = job.run.progress()
    return 0 if progress is None else progress.done


def adapter_of(job: RunningJob) -> Mapping[str, mx.array]:
    """The tensors of the adapter that a job has left."""
    loaded = mx.load(str(job.run.adapter / "adapters.safetensors"))
    assert isinstance(loaded, dict)
    return loaded


def require_same_numbers(job: RunningJob, alone: RunningJob) -> None:
    """Has a job the numbers of another, but for rounding."""
    for line, expected in zip(metrics(job), metrics(alone), strict=True):
        for name in expected.keys() - NOT_COMPARED:
            assert line[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-5), name
    for name, values in adapter_of(alone).items():
        assert np.allclose(np.array(adapter_of(job)[name]), np.array(values), atol=1e-4), name
