"""What several ranks bring on this machine: the same job with one rank of one thread, with two, and with one rank of two threads.

    python benchmarks/bench_ranks.py [--pairs 40] [--steps 4] [--repeats 3] [--markdown results.md]

Each arm is a home of its own with jobs of the real model, run by real workers one after the other, the arms in turn. Seconds are
of the passes alone: the scoring of the report, and the steps behind the first. CPU seconds are those of the rank that has used most:
what the others wait for. On a machine with other work these are the ones to go by.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from bench_train import DATA, MODEL

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.cpus import CPUS, THREADS, usable_cpus
from prefd.daemon.machine.files import write_json
from prefd.daemon.runs.run_folder import RunDir

PAIRS = next(path for path in DATA if path.exists())
LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Arm:
    """Arm is a way to run the job."""

    name: str
    ranks: int
    cores: int

    def environment(self) -> dict[str, str]:
        """What keeps its workers to so many cores."""
        cores = usable_cpus()[: self.cores]
        return {CPUS: ",".join(map(str, cores)), **dict.fromkeys(THREADS, str(self.cores))}


ARMS = (Arm("1 rank, 1 thread", 1, 1), Arm("2 ranks, 1 thread each", 2, 2), Arm("1 rank, 2 threads", 1, 2))


@dataclass
class Measured:
    """Measured is what one run of an arm took, in seconds."""

    scoring: float
    scoring_cpu: float
    training: float
    training_cpu: float
    reduce: float
    losses: list[float]


def make_run(root: Path, arm: Arm, pairs: int, steps: int) -> RunDir:
    """Write a claimed job into a home under `root`."""
    home = Home(root)
    home.create()
    folder = home.job(1)
    folder.mkdir()
    data = root / "pairs.jsonl"
    data.write_text("".join(PAIRS.read_text().splitlines(keepends=True)[:pairs]))
    training = {"batch_size": 8, "iters": steps, "steps_per_report": 1, "learning_rate": 1e-5, "save_every": 10_000}
    spec = {"model": str(MODEL), "data": {"path": str(data), "max_length": 512, "validation": 0}, "training": training}
    write_json(folder / "spec.json", spec | {"ranks": arm.ranks})
    return RunDir(folder)


def run_phase(run: RunDir, phase: str, arm: Arm) -> dict[int, dict[int, float]]:
    """Run a phase; return the CPU seconds of its processes when metrics.jsonl first had so many lines, and under -1 at the end."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "prefd.daemon.worker",
        phase,
        "--home",
        str(run.root.parents[1]),
        "--job",
        "1",
    ]
    environment = os.environ | arm.environment() | HandedSettings().environment()
    seconds: dict[int, dict[int, float]] = {}
    with run.log.open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=run.root, env=environment
        )
        while process.poll() is None:
            lines = run.metrics.read_bytes().count(b"\n") if run.metrics.exists() else 0
            seconds[-1] = measure_cpu(process.pid) or seconds.get(-1, {})
            seconds.setdefault(lines, seconds[-1])
            time.sleep(LOOK_SECONDS)
    if process.returncode:
        raise SystemExit(f"{phase} ended with {process.returncode}; see {run.log}")
    return seconds


def measure_cpu(pid: int) -> dict[int, float]:
    """Return the CPU seconds so far of a process and its children."""
    seconds_of = {}
    try:
        worker = psutil.Process(pid)
        for each in (worker, *worker.children()):
            times = each.cpu_times()
            seconds_of[each.pid] = times.user + times.system
    except psutil.Error:
        pass
    return seconds_of


def measure(arm: Arm, pairs: int, steps: int) -> Measured:
    """Run the job of an arm once."""
    with tempfile.TemporaryDirectory(prefix="prefd-bench-ranks-") as root:
        run = make_run(Path(root) / "home", arm, pairs, steps)
        scoring_cpu = run_phase(run, "precompute", arm)
        cpu = run_phase(run, "training", arm)
        scored: Any = run.outcome("precompute")
        lines = [line for line in run.read_metrics() if "loss" in line]
    began, ended = cpu[1], cpu[max(cpu)]
    return Measured(
        scoring=scored.summary.scoring_seconds,
        scoring_cpu=max(scoring_cpu[-1].values()),
        training=sum(count_step_seconds(lines)),
        training_cpu=max(ended[pid] - began.get(pid, 0.0) for pid in ended),
        reduce=sum(line.get("reduce_seconds", 0.0) for line in lines[1:]),
        losses=[line["loss"] for line in lines],
    )


def count_step_seconds(lines: list[dict[str, float]]) -> list[float]:
    """Return the seconds of each step but the first, by their times of writing."""
    return [after["time"] - before["time"] for before, after in pairwise(lines)]


def describe(measured: Mapping[str, list[Measured]]) -> str:
    """Write the table."""
    first = measured[ARMS[0].name]
    rows = []
    for arm in ARMS:
        runs = measured[arm.name]
        cells = [arm.name]
        for field in ("scoring", "scoring_cpu", "training", "training_cpu"):
            value = statistics.median(getattr(each, field) for each in runs)
            ratio = statistics.median(
                getattr(alone, field) / getattr(each, field) for alone, each in zip(first, runs, strict=True)
            )
            cells.append(f"{value:.1f} ({ratio:.2f} ×)")
        share = statistics.median(each.reduce / each.training for each in runs)
        cells.append(f"{100 * share:.1f} %" if arm.ranks > 1 else "")
        drift = max(abs(a - b) for a, b in zip(runs[0].losses, first[0].losses, strict=True))
        cells.append(f"{drift:.1e}")
        rows.append(f"| {' | '.join(cells)} |")
    header = (
        "| | scoring, s | its CPU s | training, s | its CPU s | waiting and adding up | largest difference of a loss |"
    )
    return "\n".join([header, "|---|---|---|---|---|---|---|", *rows])


def main() -> None:
    """Measure all arms, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    measured: dict[str, list[Measured]] = {arm.name: [] for arm in ARMS}
    for number in range(options.repeats):
        for arm in ARMS:
            measured[arm.name].append(measure(arm, options.pairs, options.steps))
            print(json.dumps({"repeat": number, "arm": arm.name} | vars(measured[arm.name][-1])), file=sys.stderr)
    title = (
        f"SmolLM2-135M-Instruct, {options.pairs} pairs of {PAIRS.name}, 8 a step, {options.steps - 1} steps behind the first, "
        f"medians of {options.repeats}, on {platform.system()} {platform.machine()}, {len(usable_cpus())} cores"
    )
    text = f"{title}\n\n{describe(measured)}\n"
    print(text)
    if options.markdown:
        options.markdown.write_text(text)


if __name__ == "__main__":
    main()
