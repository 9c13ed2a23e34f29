"""What a reference costs that is not in memory whole: time and peak of scoring it a window of its layers at a time.

    python benchmarks/bench_windows.py [--pairs 12] [--sizes 1 3 10 30] [--large] [--markdown results.md]

Each measurement is a process of its own, the whole model first: scores are compared with its to the last bit. `--large` adds a random
model of the Llama kind with a billion parameters, which it writes and then scores under a limit of address space that its weights
alone exceed (RLIMIT_AS, set in the process that scores).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from prefd.daemon.machine import blas

blas.preload()

import mlx.core as mx
import mlx_lm
import numpy as np
from bench_train import DATA, MODEL
from mlx.utils import tree_flatten
from mlx_lm.models.llama import Model, ModelArgs

from prefd.daemon.worker.data.tokens import Completion, Encoder
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.reference.scoring_pass import ReferencePass, batch_by_key
from prefd.daemon.worker.reference.window_choice import ModelSizes, Windows
from prefd.daemon.worker.scoring import plan
from prefd.daemon.worker.scoring.choose import fastest_scorer, windowed_scorer
from prefd.daemon.worker.scoring.scorer import Options
from prefd.plugins.types import Pair

MB = 1e6
LARGE = ModelArgs(
    model_type="llama",
    hidden_size=2048,
    num_hidden_layers=16,
    intermediate_size=8192,
    num_attention_heads=32,
    num_key_value_heads=8,
    rms_norm_eps=1e-5,
    vocab_size=32000,
    head_dim=64,
    tie_word_embeddings=True,
)
"""Llama 3.2 1B with a smaller vocabulary."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 3, 10, 30])
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--data", type=Path, default=next(path for path in DATA if path.exists()))
    parser.add_argument("--large", action="store_true", help="score a random model of 1 B parameters under a limit too")
    parser.add_argument("--markdown", type=Path, help="write the tables here too")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(**json.loads(options.child))))
        return
    lines = list(measure_sizes(options.model, options.data, options.pairs, options.sizes))
    if options.large:
        lines += ["", *measure_large()]
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


def measure_sizes(model: Path, data: Path, pairs: int, sizes: list[int]) -> list[str]:
    common = {"model": str(model), "data": str(data), "pairs": pairs}
    whole = child(**common, size=0)
    rows = [(size, child(**common, size=size)) for size in sizes]
    lines = [
        (
            f"{model.name}, {pairs} pairs of {data.name}: {whole['tokens']} tokens, {whole['layers']} layers, on {platform.system()} "
            f"{platform.machine()}, {os.cpu_count()} cores; its weights are {whole['weights'] / MB:.0f} MB"
        ),
        "",
        "| layers at a time | CPU s | of whole | wall s | peak, MB | bound, MB | same bits |",
        "|---|---|---|---|---|---|---|",
        f"| all | {whole['cpu']:.1f} | 1 | {whole['wall']:.1f} | {whole['peak'] / MB:.0f} | | |",
    ]
    for size, row in rows:
        same = "yes" if row["digest"] == whole["digest"] else "NO"
        lines.append(
            f"| {size} | {row['cpu']:.1f} | {row['cpu'] / whole['cpu']:.2f} | {row['wall']:.1f} | {row['peak'] / MB:.0f} | "
            f"{row['bound'] / MB:.0f} | {same} |"
        )
    return lines


def measure_large() -> list[str]:
    """Write a random model, and score a few rows of random tokens with it where its weights do not fit."""
    with tempfile.TemporaryDirectory() as folder:
        write_large(Path(folder))
        limit = int(3.5e9)
        limited = child(model=folder, data="", pairs=3, size=4, limit=limit)
        refused = try_child(model=folder, data="", pairs=3, size=0, limit=limit)
    text = (
        f"A random Llama of {limited['weights'] / 4e9:.2f} B parameters, {limited['weights'] / 1e9:.1f} GB of weights in float32, with "
        f"{limit / 1e9:.1f} GB of address space (RLIMIT_AS): 4 of {limited['layers']} layers at a time, {limited['tokens']} tokens in "
        f"{limited['wall']:.0f} s ({limited['cpu']:.0f} CPU s), peak {limited['peak'] / 1e9:.2f} GB. Whole, under the same limit: "
        + describe_end(refused)
    )
    return [text]


def describe_end(ended: subprocess.CompletedProcess[str]) -> str:
    """Say how a process ended, with the last line that it wrote of it."""
    if not ended.returncode:
        return "it ran, which it should not."
    last_line = (ended.stderr.strip().splitlines() or ["no word"])[-1]
    return f"it ended with {ended.returncode}: `{last_line[:200]}`"


def write_large(folder: Path) -> None:
    """Write the model LARGE in bfloat16, a layer's arrays after another."""
    mx.random.seed(0)
    model = Model(LARGE)
    leaves: Any = tree_flatten(model.parameters())
    mx.save_safetensors(
        str(folder / "model.safetensors"),
        {name: (0.02 * mx.random.normal(array.shape)).astype(mx.bfloat16) for name, array in leaves},
    )
    (folder / "config.json").write_text(json.dumps(vars(LARGE)))


def try_child(**arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, __file__, "--child", json.dumps(arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def child(**arguments: Any) -> dict[str, Any]:
    ended = try_child(**arguments)
    if ended.returncode:
        raise SystemExit(f"{arguments} ended with {ended.returncode}: {ended.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return result


def measure(model: str, data: str, pairs: int, size: int, limit: int = 0) -> dict[str, Any]:
    """Score with `size` layers in memory, 0 for all of them: seconds, peak of what MLX takes, and a digest of the scores."""
    source = ModelSource(model)
    if limit:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    sizes = ModelSizes.measure(loading.load_lazily(source))
    options = Options() if data else Options(slack=plan.EQUAL)  # without trying which batches keep their bits
    if size:
        scorer: Any = windowed_scorer(lambda: loading.load_lazily(source).freeze(), size, options)
        windows = Windows(sizes, size, 2**15, 2048)
    else:
        network = loading.load_lazily(source).freeze()
        mx.eval(network.parameters())
        scorer, windows = fastest_scorer(network, options), None
    reference = ReferencePass(scorer, 2048, windows)
    sides = read_sides(source, data, pairs) if data else make_sides(pairs)
    batches = batch_by_key({hashlib.sha256(side.ids.tobytes()).digest(): side for side in sides}, 2048)
    mx.reset_peak_memory()
    began, began_cpu = time.perf_counter(), time.process_time()
    scores = {key: value for part in reference.score(batches) for key, value in part.items()}
    wall, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    digest = hashlib.sha256(b"".join(scores[key].tobytes() for key in sorted(scores))).hexdigest()
    tokens = sum(len(side.ids) for side in sides)
    bound = sizes.frame + size * max(sizes.layers) + sizes.state * tokens
    return {
        "wall": wall,
        "cpu": cpu,
        "peak": mx.get_peak_memory(),
        "digest": digest,
        "tokens": tokens,
        "bound": bound,
        "weights": sizes.total,
        "layers": len(sizes.layers),
    }


def read_sides(source: ModelSource, data: str, pairs: int) -> list[Completion]:
    rows = [json.loads(line) for line in Path(data).read_text(encoding="utf-8").splitlines()]
    encoder = Encoder(mlx_lm.utils.load_tokenizer(Path(source.model)), 1024)
    picked = rows[:: max(1, len(rows) // pairs)][:pairs]
    examples = [
        encoder.encode(Pair(row["prompt"], row["chosen"], row["rejected"]), number)
        for number, row in enumerate(picked, 1)
    ]
    return list(dict.fromkeys(side for each in examples for side in (each.chosen, each.rejected)))


def make_sides(count: int) -> list[Completion]:
    generator = np.random.default_rng(0)
    return [Completion(generator.integers(1, 32000, 100).astype(np.uint32), 50) for _ in range(count)]


if __name__ == "__main__":
    main()
