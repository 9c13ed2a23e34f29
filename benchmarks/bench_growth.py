"""How the cost of a training step grows with length, batch and settings: seconds, peak memory, and what was estimated.

    python benchmarks/bench_growth.py [--repeats 3] [--markdown benchmarks/growth.md]

One optimizer step of LoRA (rank 8, every layer) on synthetic pairs: a prompt of a fifth of the length, two answers that
fill it. Each line is a process of its own, which takes one step to warm up and then `--repeats`; the first line is the
one that ratios refer to.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from prefd.daemon.machine import blas

blas.preload()

import mlx.core as mx
import numpy as np

from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.fine_tune import make_trainable
from prefd.daemon.worker.models.source import get_policy_source
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.scorer import Options
from prefd.daemon.worker.training import memory
from prefd.daemon.worker.training.schedule import Batching
from prefd.daemon.worker.training.trainer import Trainer
from prefd.plugins.losses.dpo import Sigmoid
from prefd.plugins.types import Logprobs

ROOT = Path(__file__).parent.parent
MODEL = ROOT / ".models" / "SmolLM2-135M-Instruct"
BASE: dict[str, Any] = {"length": 256, "pairs": 4, "batch_tokens": 1024, "chunk_tokens": None, "grad_checkpoint": False}
LINES: dict[str, list[dict[str, Any]]] = {
    "length of a sequence, tokens": [{"length": length, "pairs": 1} for length in (128, 256, 512, 1024)],
    "pairs in a step": [{"length": 128, "pairs": pairs} for pairs in (1, 2, 4, 8)],
    "tokens run at once": [{"length": 128, "pairs": 8, "batch_tokens": tokens} for tokens in (256, 1024, 4096)],
    "layers recomputed": [{"length": 512, "pairs": 1, "grad_checkpoint": chosen} for chosen in (False, True)],
    "pieces of a long sequence": [
        {"length": 1024, "pairs": 1, "chunk_tokens": chunk, "grad_checkpoint": recomputed}
        for chunk, recomputed in ((None, False), (512, False), (128, False), (None, True), (128, True))
    ],
}


def main() -> None:
    options = arguments()
    if options.child:
        print(json.dumps(measure(options.model, options.repeats, **json.loads(options.child))))
        return
    lines = [
        (
            f"{options.model.name}, LoRA rank 8, medians of {options.repeats} steps after one, "
            f"on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
        )
    ]
    for title, settings in LINES.items():
        if options.only and options.only not in title:
            continue
        lines += ["", f"**{title}**", "", *table([BASE | each for each in settings], options)]
        if options.markdown:  # after each table, for whoever stops it early
            options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", help="the tables whose title has this")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--markdown", type=Path, help="write the tables here too")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def table(settings: list[dict[str, Any]], options: argparse.Namespace) -> list[str]:
    varied = [name for name in BASE if len({str(each[name]) for each in settings}) > 1]
    columns = [*varied, "seconds a step", "× the first", "tokens/s", "peak memory, GB", "estimated, GB"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    first = None
    for each in settings:
        print(each, file=sys.stderr)
        result = child(each, options)
        first = first or result["seconds"]
        cells = [str(each[name]) for name in varied]
        cells += [
            f"{result['seconds']:.2f}",
            f"{result['seconds'] / first:.2f}",
            f"{result['tokens'] / result['seconds']:.0f}",
        ]
        cells += [f"{result['peak'] / 1e9:.2f}", f"{result['estimate'] / 1e9:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def child(settings: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", json.dumps(settings), "--model", str(options.model)]
    done = subprocess.run([*command, "--repeats", str(options.repeats)], check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(
    folder: Path,
    repeats: int,
    length: int,
    pairs: int,
    batch_tokens: int,
    chunk_tokens: int | None,
    grad_checkpoint: bool,
) -> dict[str, Any]:
    from mlx.optimizers import AdamW

    with tempfile.NamedTemporaryFile(suffix=".jsonl") as data:
        spec = JobSpec.model_validate({"model": str(folder), "data": {"path": data.name}, "training": {}})
    source = get_policy_source(spec)
    assert spec.training is not None
    model = loading.load(source)
    make_trainable(model, source, spec.training)
    optimizer = AdamW(1e-5, bias_correction=True)
    optimizer.init(model.trainable_parameters())
    examples = synthetic(pairs, length)
    batching = Batching(pairs, batch_tokens)
    options = Options(chunk_tokens=chunk_tokens, checkpoint_layers=grad_checkpoint)
    guess = memory.estimate(model, optimizer.state, examples, batching, options)
    scorer = fastest_scorer(model, options)
    trainer = Trainer(scorer, optimizer, Sigmoid(), zeros, batching)
    mx.reset_peak_memory()
    seconds = []
    for step in range(1, repeats + 2):
        began = time.perf_counter()
        trainer.step(step, examples)
        seconds.append(time.perf_counter() - began)
    tokens = sum(len(side.ids) for each in examples for side in (each.chosen, each.rejected))
    return {
        "seconds": median(seconds[1:]),
        "tokens": tokens,
        "peak": mx.get_peak_memory(),
        "estimate": guess.total,
    }


def synthetic(count: int, length: int) -> list[Example]:
    random = np.random.default_rng(0)
    prompt = length // 5
    pairs = []
    for row in range(1, count + 1):
        ids = random.integers(10, 40_000, 2 * length - prompt).astype(np.uint32)
        chosen, rejected = (
            Completion(np.concatenate([ids[:prompt], side]), prompt) for side in (ids[prompt:length], ids[length:])
        )
        pairs.append(Example(row, chosen, rejected))
    return pairs


def zeros(completions: Any) -> Logprobs:
    """A reference whose numbers do not matter for the cost."""
    lengths = np.array([len(one.ids) - one.start for one in completions])
    mask = np.arange(lengths.max()) < lengths[:, None]
    return Logprobs(mx.zeros(mask.shape), mx.array(mask.astype(np.float32)))


if __name__ == "__main__":
    main()
