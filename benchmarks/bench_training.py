"""Training from the cache against the same training with a live reference model: seconds a step and peak memory.

    python benchmarks/bench_training.py [--pairs 24] [--repeats 2] [--markdown results.md]

Each variant runs in processes of its own (that is what peak memory means), the two take turns, and every number is the
median over all steps of all repeats. Both run the same trainer on the same steps; only where the reference's
log-probabilities come from differs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from prefd.daemon import blas

blas.preload()

import mlx.core as mx

from prefd.daemon.home import Home
from prefd.daemon.rundir import RunDir, write_json
from prefd.daemon.spec import JobSpec
from prefd.daemon.worker import models
from prefd.daemon.worker.batches import Schedule
from prefd.daemon.worker.job import Job
from prefd.daemon.worker.logprobs import completion_logprobs
from prefd.daemon.worker.optim import make_optimizer
from prefd.daemon.worker.tokens import Completion
from prefd.daemon.worker.trainer import Trainer
from prefd.daemon.worker.training import cached_reference
from prefd.plugins.types import Logprobs

ROOT = Path(__file__).parent.parent
MODEL = ROOT / ".models" / "SmolLM2-135M-Instruct"
DATA = [ROOT.parent / "shared" / "data" / "alpaca_eval_pairs.jsonl", ROOT / "contrib" / "demo" / "pairs.jsonl"]
VARIANTS = ("cached", "live")


def main() -> None:
    given = arguments()
    if given.child:
        print(json.dumps(measure(given.child, Job.load(Home(given.home), 1))))
        return
    with tempfile.TemporaryDirectory(prefix="prefd-bench-") as folder:
        job = prepare(given, Home(Path(folder)))
        precompute = timed_worker(job)
        runs: dict[str, list[dict[str, Any]]] = {variant: [] for variant in VARIANTS}
        for repeat in range(given.repeats):
            for variant in VARIANTS if repeat % 2 == 0 else reversed(VARIANTS):
                print(f"repeat {repeat + 1} of {given.repeats}: {variant}", file=sys.stderr)
                runs[variant].append(child(variant, job.home.root))
    lines = report(given, precompute, runs)
    print("\n".join(lines))
    if given.markdown:
        given.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--data", type=Path, default=next(path for path in DATA if path.exists()))
    parser.add_argument("--markdown", type=Path, help="write the table here too")
    parser.add_argument("--child", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def prepare(given: argparse.Namespace, home: Home) -> Job:
    """A job over `--pairs` pairs spread evenly over the data, one epoch."""
    home.create()
    rows = given.data.read_text(encoding="utf-8").splitlines()
    picked = [rows[n * len(rows) // given.pairs] for n in range(given.pairs)]
    pairs = home.root / "pairs.jsonl"
    pairs.write_text("\n".join(picked) + "\n", encoding="utf-8")
    spec = JobSpec.model_validate(
        {
            "model": str(given.model),
            "data": {"path": str(pairs), "max_length": given.max_length, "validation": 0.0},
            "training": {"batch_size": given.batch_size, "learning_rate": 1e-5},
        }
    )
    home.job(1).mkdir()
    write_json(home.job(1) / "spec.json", spec.model_dump())
    return Job.load(home, 1)


def timed_worker(job: Job) -> dict[str, Any]:
    """The precompute phase as the daemon runs it; its summary."""
    command = [sys.executable, "-m", "prefd.daemon.worker", "precompute", "--home", str(job.home.root), "--job", "1"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    outcome = RunDir(job.run.root).outcome("precompute")
    assert outcome is not None
    return outcome.summary


def child(variant: str, home: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", variant, "--home", str(home)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(variant: str, job: Job) -> dict[str, Any]:
    """Every step of one epoch, in this process."""
    training = job.spec.training
    assert training is not None
    mx.random.seed(0)
    model = models.load(job.policy)
    models.make_trainable(model, job.policy, training)
    reference = Timed(cached_reference(job) if variant == "cached" else live_reference(job))
    schedule = Schedule.plan(job.examples, training)
    optimizer = make_optimizer(training, schedule.total_steps, model)
    trainer = Trainer(model, optimizer, job.loss.create({}), reference)
    seconds, losses = [], []
    for step in range(1, schedule.total_steps + 1):
        began = time.perf_counter()
        losses.append(trainer.step(step, schedule.micro_batches(step))["loss"])
        seconds.append(time.perf_counter() - began)
    tokens = sum(len(side.ids) for each in job.examples for side in (each.chosen, each.rejected))
    scale = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": seconds,
        "reference_seconds": reference.seconds,
        "losses": losses,
        "tokens": tokens,
        "peak_mlx": mx.get_peak_memory(),
        "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale,
        "device": f"{models.device()} ({mx.device_info().get('device_name', '')})",
    }


class Timed:
    """Adds up the seconds that a source of reference log-probabilities takes."""

    def __init__(self, scores: Any) -> None:
        self.scores = scores
        self.seconds = 0.0

    def __call__(self, completions: Sequence[Completion]) -> Logprobs:
        began = time.perf_counter()
        found: Logprobs = self.scores(completions)
        mx.eval(found)
        self.seconds += time.perf_counter() - began
        return found


def live_reference(job: Job) -> Any:
    """The reference as other trainers have it: a second model in memory, run again in every step."""
    model = models.load(job.reference)
    model.freeze()

    def scores(completions: Sequence[Completion]) -> Logprobs:
        return Logprobs(*(mx.stop_gradient(part) for part in completion_logprobs(model, completions)))

    return scores


def report(given: argparse.Namespace, precompute: dict[str, Any], runs: dict[str, list[dict[str, Any]]]) -> list[str]:
    """The table as Markdown lines."""
    step = {variant: median(s for run in runs[variant] for s in run["seconds"]) for variant in VARIANTS}
    epoch = {variant: median(sum(run["seconds"]) for run in runs[variant]) for variant in VARIANTS}
    reference = {variant: median(run["reference_seconds"] for run in runs[variant]) for variant in VARIANTS}
    mlx = {variant: median(run["peak_mlx"] for run in runs[variant]) / 1e9 for variant in VARIANTS}
    rss = {variant: median(run["peak_rss"] for run in runs[variant]) / 1e9 for variant in VARIANTS}
    apart = max(abs(a - b) for one, other in zip(*runs.values()) for a, b in zip(one["losses"], other["losses"]))
    first = runs["cached"][0]
    rows = [
        ("seconds per step, median", step, "{:.2f}"),
        ("seconds per epoch", epoch, "{:.1f}"),
        ("of those, for the reference's numbers", reference, "{:.3f}"),
        ("peak memory of MLX, GB", mlx, "{:.2f}"),
        ("peak memory of the process, GB", rss, "{:.2f}"),
    ]
    lines = [
        (
            f"{given.model.name}, {given.pairs} pairs of {given.data.name} ({first['tokens']} tokens, max_length "
            f"{given.max_length}), batch size {given.batch_size}, LoRA rank 8, {given.repeats} repeats"
        ),
        f"on {first['device']}, {platform.machine()}, {os.cpu_count()} cores",
        "",
        "| | cached reference | live reference | cached / live |",
        "|---|---|---|---|",
    ]
    for name, values, form in rows:
        cells = " | ".join(form.format(values[variant]) for variant in VARIANTS)
        lines.append(f"| {name} | {cells} | {values['cached'] / values['live']:.3g} |")
    saved = epoch["live"] - epoch["cached"]
    return [
        *lines,
        "",
        (
            f"The reference pass, once for every job over these pairs: {precompute['seconds']:.1f} s for "
            f"{precompute['scored']} completions ({precompute['duplicates']} duplicates not scored again); "
            f"reading it takes {reference['cached'] / epoch['cached']:.2%} of an epoch, which saves {saved:.1f} s. Largest difference of a step's loss between the two: {apart:.1e}."
        ),
    ]


if __name__ == "__main__":
    main()
