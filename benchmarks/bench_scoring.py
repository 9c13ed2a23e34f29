"""Scoring against a bare forward pass over the same tokens, unpadded, one sequence at a time: the limit.

    python benchmarks/bench_scoring.py [--pairs 12] [--repeats 3] [--markdown results.md]

A unique token is one of a prompt, once for all its answers, or of an answer. The bare pass runs the model on each
prompt with its first answer, and is charged by the tokens it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from prefd.daemon.machine import blas

blas.preload()

import mlx.core as mx
import mlx_lm
import numpy as np
from bench_train import DATA, MODEL

from prefd.daemon.worker.data.tokens import Completion, Encoder
from prefd.daemon.worker.reference.scoring_pass import batch_by_key, score
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.scorer import Scorer
from prefd.plugins.types import Pair


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--data", type=Path, default=next(path for path in DATA if path.exists()))
    parser.add_argument("--markdown", type=Path, help="write the table here too")
    options = parser.parse_args()
    loaded: Any = mlx_lm.load(str(options.model))
    model, tokenizer = loaded
    rows = [json.loads(line) for line in options.data.read_text(encoding="utf-8").splitlines()]
    picked = rows[:: max(1, len(rows) // options.pairs)][: options.pairs]
    encoder = Encoder(tokenizer, 1024)
    examples = [
        encoder.encode(Pair(row["prompt"], row["chosen"], row["rejected"]), number)
        for number, row in enumerate(picked, 1)
    ]
    sides = list(dict.fromkeys(side for each in examples for side in (each.chosen, each.rejected)))
    scorer = fastest_scorer(model.freeze())
    prompts = {side.prompt.tobytes(): side.start for side in sides}
    unique = sum(prompts.values()) + sum(len(side.ids) - side.start for side in sides)
    naive = sum(len(side.ids) for each in examples for side in (each.chosen, each.rejected))
    alone = sum(len(side.ids) for side in sides)
    ours, bare = [], []
    for _ in range(options.repeats):
        ours.append(timed_scoring(scorer, sides) / unique)
        bare.append(timed_forward(model, sides) / alone)
    lines = [
        (
            f"{options.model.name}, {len(examples)} pairs of {options.data.name}: {unique} unique tokens of {naive}; medians "
            f"of {options.repeats}, on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
        ),
        "",
        "| | ms per token |",
        "|---|---|",
        f"| scoring, per unique token | {1e3 * median(ours):.2f} |",
        f"| bare forward pass, per token | {1e3 * median(bare):.2f} |",
        f"| ratio | {median(ours) / median(bare):.2f} |",
    ]
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


def timed_scoring(scorer: Scorer, sides: Sequence[Completion]) -> float:
    began = time.perf_counter()
    for batch in batch_by_key({bytes([index % 256, index // 256]): side for index, side in enumerate(sides)}):
        score(scorer, batch)
    return time.perf_counter() - began


def timed_forward(model: object, sides: Sequence[Completion]) -> float:
    assert callable(model)
    began = time.perf_counter()
    for side in sides:
        mx.eval(model(mx.array(side.ids[None].astype(np.int32))))
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
