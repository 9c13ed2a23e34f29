"""Held-out preference of quantized policies, trained with and without quantization-aware training.

    python benchmarks/bench_qat.py [--bits 3 4] [--steps 12] [--markdown results.md]

One job trains without QAT and one with it for each number of bits: the same pairs in the same order, the same seed, the
same reference. Each is fused by `output.fuse` and quantized as `mlx_lm.convert -q` quantizes, and then evaluated on the
pairs that were held out. Log-probabilities are compared per token: a rounded model is worse at every token, so that in
sums over tokens the longer side loses whatever was learned.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from prefd.daemon.machine import blas

blas.preload()

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx_lm.utils import dequantize_model, load_model, quantize_model

from prefd.daemon.home.layout import Home
from prefd.daemon.machine.files import write_json
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.training_spec import QATSpec, TrainingSpec
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.fine_tune import make_trainable
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.reference.precompute import precompute
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.training.qat import QAT
from prefd.daemon.worker.training.schedule import Batching
from prefd.daemon.worker.training.train import open_cached_reference, train
from prefd.daemon.worker.training.trainer import list_sides

ROOT = Path(__file__).parent.parent
MODEL = ROOT / ".models" / "SmolLM2-135M-Instruct"
DATA = ROOT / "contrib" / "demo" / "pairs.jsonl"


def main() -> None:
    options = arguments()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="prefd-bench-") as folder:
        rows = measure(options, Home(Path(folder)))
    lines = report(options, rows, cost(options), time.monotonic() - began)
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bits", type=int, nargs="+", default=[3, 4])
    parser.add_argument("--group-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--loss", default="ipo")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--markdown", type=Path, help="write the table here too")
    return parser.parse_args()


def measure(options: argparse.Namespace, home: Home) -> list[dict[str, Any]]:
    """A row for each model that is evaluated: what it is, and its numbers."""
    home.create()
    plain = job(options, home, 1, None)
    precompute(plain, threading.Event())
    train(plain, threading.Event())
    base = Path(plain.policy.model)
    rows = [{"bits": None, "policy": "trained"} | evaluate(plain, load_model(plain.run.fused)[0])]
    for number, bits in enumerate(options.bits, start=2):
        aware = job(options, home, number, {"bits": bits, "group_size": options.group_size})
        train(aware, threading.Event())
        for policy, folder in (
            ("untrained", base),
            ("trained", plain.run.fused),
            ("trained with QAT", aware.run.fused),
        ):
            print(f"{bits} bits: {policy}", file=sys.stderr)
            model, config = load_model(folder)
            model, _ = quantize_model(model, config, options.group_size, bits)
            row = evaluate(aware, dequantize_model(model))  # the same numbers, and fast on a CPU
            rows.append({"bits": bits, "policy": policy} | row)
    return rows


def job(options: argparse.Namespace, home: Home, number: int, qat: dict[str, int] | None) -> RunningJob:
    spec = JobSpec.model_validate(
        {
            "model": str(options.model),
            "data": {"path": str(options.data), "max_length": options.max_length, "validation": 0.5},
            "loss": {"name": options.loss},
            "training": {
                "learning_rate": options.learning_rate,
                "batch_size": 4,
                "iters": options.steps,
                "steps_per_eval": 10**6,
                "qat": qat,
            },
            "output": {"fuse": True},
        }
    )
    home.job(number).mkdir()
    write_json(home.job(number) / "spec.json", spec.model_dump(exclude_unset=True))
    return RunningJob.load(home, number)


def cost(options: argparse.Namespace) -> dict[str, float]:
    """Medians of three: CPU seconds of forward and backward over 4 × 64 tokens without and with QAT, in turns, and of the
    rounding that each optimizer step adds.
    """
    tokens = mx.random.randint(0, 1000, (4, 64))
    source = ModelSource(str(options.model))
    policies, roundings = [], []
    for spec in (None, QATSpec(bits=options.bits[0], group_size=options.group_size)):
        model = loading.load(source)
        make_trainable(model, source, TrainingSpec())
        qat = QAT.install(model, spec, mx.float32, steps=1)
        qat.begin_step(1)
        policies.append(model)
        roundings.append(qat)

    def step(model: nn.Module) -> None:
        mx.eval(nn.value_and_grad(model, lambda: mx.square(model.model(tokens)).sum())())

    turns = [
        [cpu_seconds(partial(step, model)) for model in policies] + [cpu_seconds(roundings[1].refresh)]
        for _ in range(3)
    ]
    return dict(zip(("without", "with", "rounding"), np.median(turns, axis=0).tolist()))


def cpu_seconds(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def evaluate(job: RunningJob, model: nn.Module) -> dict[str, float]:
    """Per-token log-probabilities of the held-out pairs against the reference's: accuracy, margin, and the level."""
    model.set_dtype(getattr(mx, loading.compute_dtype(job.policy)))
    model.eval()
    reference = open_cached_reference(job)
    ratios, levels = [], []
    scorer = fastest_scorer(model)
    for batch in Batching(4, 2048).split(job.data.held_out):
        policy = scorer.logprobs(list_sides(batch)).means
        ratios.append(np.array(policy - reference(list_sides(batch)).means).reshape(2, -1))
        levels.append(np.array(policy).reshape(2, -1))
    chosen, rejected = np.concatenate(ratios, axis=1)
    level, other = np.concatenate(levels, axis=1)
    return {
        "pairs": len(chosen),
        "accuracy": float((chosen > rejected).mean()),
        "margin": float((chosen - rejected).mean()),
        "prefers": float((level > other).mean()),
        "chosen": float(level.mean()),
    }


def report(
    options: argparse.Namespace, rows: list[dict[str, Any]], costs: dict[str, float], seconds: float
) -> list[str]:
    lines = [
        (
            f"{options.model.name}, {options.data.name}, {rows[0]['pairs']} pairs held out, {options.loss}, LoRA of rank 8, {options.steps} "
            f"steps of 4 pairs at {options.learning_rate:g}, groups of {options.group_size}; {seconds:.0f} s in all"
        ),
        f"on {loading.device()} ({mx.device_info().get('device_name', '')}), {platform.machine()}, {os.cpu_count()} cores",
        "",
        "| bits | policy | implicit accuracy | margin, nats a token | chosen likelier | log p(chosen) a token |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        bits = "full" if row["bits"] is None else row["bits"]
        lines.append(
            f"| {bits} | {row['policy']} | {row['accuracy']:.2f} | {row['margin']:.3f} | {row['prefers']:.2f} | "
            f"{row['chosen']:.2f} |"
        )
    return [
        *lines,
        "",
        (
            f"CPU seconds of one forward and backward pass over 4 × 64 tokens: {costs['without']:.2f} without QAT, "
            f"{costs['with']:.2f} with it; the rounding once a step: {costs['rounding']:.2f}."
        ),
    ]


if __name__ == "__main__":
    main()
