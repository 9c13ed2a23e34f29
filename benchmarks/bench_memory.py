"""Measures the peak memory of a training pass against what prefd estimates: shapes of models and pairs, each type, each way.

    make bench WHICH=memory

The models have the geometry of well-known ones at an eighth of their width, so that a minute is enough: what a step keeps is
a matter of shapes. "GPU" is the way that a GPU takes (forward and backward pass as one graph), run here on the CPU, where MLX
counts the same arrays. A second table has the other kinds of training. The last line runs steps of mixed lengths with and without a bound on MLX's buffer cache.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass
from typing import Any

from prefd.daemon.machine import blas

blas.preload()  # before anything imports mlx

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx_lm.models import gemma2, llama, qwen3
from mlx_lm.tuner.utils import linear_to_lora_layers

from prefd.daemon.specs.training_spec import QATSpec
from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.models.narrow_adapters import narrow_adapters
from prefd.daemon.worker.scoring import plan
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.scorer import Options
from prefd.daemon.worker.training import memory
from prefd.daemon.worker.training.qat import QAT
from prefd.daemon.worker.training.schedule import Batching

WIDTH = 8
"""The models' widths are divided by it."""
VOCABULARY = 1024
PAIRS = 2


@dataclass(frozen=True)
class Geometry:
    """The sizes of a model."""

    module: Any
    hidden: int
    intermediate: int
    heads: int
    key_heads: int
    head_dim: int


GEOMETRIES = {
    "Llama-3.2-1B": Geometry(llama, 2048, 8192, 32, 8, 64),
    "Qwen3-4B": Geometry(qwen3, 2560, 9728, 32, 8, 128),
    "Gemma-2-2B": Geometry(gemma2, 2304, 9216, 8, 8, 256),
}
SHORT = {"24 + 48 + 16": (24, 48, 16), "46 + 36 + 36": (46, 36, 36)}
"""Those that are short enough for 4-bit products on a CPU, which take minutes."""
LENGTHS = {**SHORT, "128 + 256 + 256": (128, 256, 256), "700 + 100 + 80": (700, 100, 80)}
"""Tokens of a prompt and of its two answers."""
DTYPES = ("float32", "bfloat16", "4 bit")
KINDS = {
    "LoRA, last half of the layers": {"lora": 3},
    "DoRA": {"dora": 6},
    "DoRA, last half of the layers": {"dora": 3},
    "full": {"full": 6},
    "full, last third of the layers": {"full": 2},
    "LoRA, QAT": {"lora": 6, "qat": 4},
    "DoRA, QAT": {"dora": 6, "qat": 4},
    "full, QAT": {"full": 6, "qat": 4},
}
"""Kinds of training: what is trained of how many layers, and the bits of quantization-aware training."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--steps", type=int, default=200, help="of mixed lengths")
    parser.add_argument("--quick", action="store_true", help="one shape, float32 and bfloat16, to see that it runs")
    options = parser.parse_args()
    cases: Any = itertools.product(GEOMETRIES, LENGTHS, DTYPES, (False, True), (True, False))
    if options.quick:
        cases = itertools.product(["Llama-3.2-1B"], ["128 + 256 + 256"], DTYPES[:2], (False, True), (True,))
    print("| geometry | tokens | type | layers recomputed | way | peak, MB | estimated, MB | estimated ÷ peak |")
    print("|---|---|---|---|---|---|---|---|")
    ratios = []
    for name, lengths, dtype, recompute, lazily in cases:
        if dtype != "float32" and not lazily:
            continue  # a CPU computes in float32
        if dtype == "4 bit" and lengths not in SHORT:
            continue  # what a step keeps is of bfloat16, as above
        if dtype != "4 bit" and lengths == next(iter(SHORT)):
            continue  # six shapes of each type are enough
        peak, guess = measure(name, lengths, dtype, recompute, lazily, options.layers)
        ratios.append(guess / peak)
        way = "GPU" if lazily else "CPU"
        cells = [name, lengths, dtype, "yes" if recompute else "no", way, f"{peak / 1e6:.1f}", f"{guess / 1e6:.1f}"]
        print(f"| {' | '.join(cells)} | {guess / peak:.2f} |", flush=True)
    print(f"\nestimated ÷ peak over {len(ratios)}: {min(ratios):.2f} to {max(ratios):.2f}", flush=True)
    compare_kinds(options.quick)
    for bounded in (False, True):
        cached, peak = measure_cache(options.steps, bounded)
        print(
            f"{options.steps} steps of mixed lengths, cache {'bounded' if bounded else 'not bounded'}: {cached} MB cached at most, {peak} MB in use at the peak"
        )


def compare_kinds(quick: bool) -> None:
    """Print the same of the other kinds of training, for Llama's geometry with 6 layers."""
    print("\n| training | tokens | type | layers recomputed | way | peak, MB | estimated, MB | estimated ÷ peak |")
    print("|---|---|---|---|---|---|---|---|")
    cases: Any = [
        *itertools.product(KINDS, ("46 + 36 + 36", "128 + 256 + 256"), ["float32"], (False, True), (True, False)),
        *itertools.product(["DoRA"], ["46 + 36 + 36"], ["4 bit"], (False, True), (True, False)),
    ]
    ratios = []
    for name, lengths, dtype, recompute, lazily in cases[:2] if quick else cases:
        peak, guess = measure("Llama-3.2-1B", lengths, dtype, recompute, lazily, 6, KINDS[name])
        ratios.append(guess / peak)
        way = "GPU" if lazily else "CPU"
        cells = [name, lengths, dtype, "yes" if recompute else "no", way, f"{peak / 1e6:.1f}", f"{guess / 1e6:.1f}"]
        print(f"| {' | '.join(cells)} | {guess / peak:.2f} |", flush=True)
    print(f"\nestimated ÷ peak over {len(ratios)}: {min(ratios):.2f} to {max(ratios):.2f}\n", flush=True)


def measure(
    name: str, lengths: str, dtype: str, recompute: bool, lazily: bool, layers: int, kind: dict[str, int] | None = None
) -> tuple[int, int]:
    """Measure the bytes of one forward and backward pass at its peak, beside the estimate. LoRA on all layers if no `kind` is given."""
    kind = kind or {"lora": layers}
    model = build(GEOMETRIES[name], dtype, layers, kind)
    bits = kind.get("qat")
    spec = None if bits is None else QATSpec.model_validate({"bits": bits, "group_size": 32})
    qat = QAT.install(model, spec, mx.float32, steps=10)
    options = Options(slack=plan.METAL if lazily else plan.CPU, lazily=lazily, checkpoint_layers=recompute)
    examples = make_pairs([LENGTHS[lengths]] * PAIRS)
    batching = Batching(PAIRS, None)
    estimate = memory.estimate(model, {}, examples, batching, options, qat.nbytes)
    # a pass makes one set of gradients; the sum of a step is the other
    guess = estimate.activations + estimate.gradients // 2 + qat.nbytes
    scorer = fastest_scorer(model, options)
    sides = [example.chosen for example in examples] + [example.rejected for example in examples]
    mx.clear_cache()
    before = mx.get_active_memory()
    qat.begin_step(1)
    mx.reset_peak_memory()
    mx.eval(scorer.value_and_grad(sides, lambda scored: (scored.sums.sum(), None)))
    return mx.get_peak_memory() - before, guess


def measure_cache(steps: int, bounded: bool) -> tuple[int, int]:
    """Measure the largest buffer cache and the peak, in MB, of `steps` passes over pairs of any length."""
    model = build(GEOMETRIES["Llama-3.2-1B"], "float32", 2, {"lora": 2})
    scorer = fastest_scorer(model, Options(slack=plan.METAL, lazily=True))
    mx.clear_cache()
    former = mx.set_cache_limit(2**24 if bounded else 2**40)
    mx.reset_peak_memory()
    largest = 0
    random = np.random.default_rng(0)
    for _ in range(steps):
        prompt, chosen, rejected = (int(size) for size in random.integers(8, 160, 3))
        (example,) = make_pairs([(prompt, chosen, rejected)])
        mx.eval(scorer.value_and_grad([example.chosen, example.rejected], lambda scored: (scored.sums.sum(), None)))
        largest = max(largest, mx.get_cache_memory())
    mx.set_cache_limit(former)
    return round(largest / 1e6), round(mx.get_peak_memory() / 1e6)


def build(geometry: Geometry, dtype: str, layers: int, kind: dict[str, int]) -> nn.Module:
    """Build a random model, of which `kind` is trained: of so many layers everything, or adapters on every linear map."""
    settings = {
        "model_type": geometry.module.__name__.rpartition(".")[2],
        "hidden_size": geometry.hidden // WIDTH // 64 * 64,
        "intermediate_size": geometry.intermediate // WIDTH // 64 * 64,
        "num_hidden_layers": layers,
        "num_attention_heads": geometry.heads // WIDTH,
        "num_key_value_heads": geometry.key_heads // WIDTH,
        "head_dim": geometry.head_dim,
        "vocab_size": VOCABULARY,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 4096,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
    }
    model: nn.Module = geometry.module.Model(geometry.module.ModelArgs.from_dict(settings))
    if dtype != "float32":
        model.set_dtype(mx.bfloat16)
    if dtype == "4 bit":
        nn.quantize(model, 64, 4)
    model.freeze()
    if trained := kind.get("full"):
        for layer in model.layers[-trained:]:
            layer.unfreeze()
    else:
        adapted, use_dora = kind.get("dora") or kind["lora"], "dora" in kind
        linear_to_lora_layers(model, adapted, {"rank": 16, "scale": 20.0, "dropout": 0.0}, use_dora=use_dora)
        narrow_adapters(model)
    model.train()
    mx.eval(model.parameters())
    return model


def make_pairs(lengths: list[tuple[int, int, int]]) -> list[Example]:
    """Make pairs of random tokens, of these lengths."""
    random = np.random.default_rng(0)
    pairs = []
    for row, (prompt, *answers) in enumerate(lengths, 1):
        ids = random.integers(1, VOCABULARY, prompt)
        sides = [np.concatenate([ids, random.integers(1, VOCABULARY, size)]).astype(np.uint32) for size in answers]
        chosen, rejected = (Completion(side, prompt) for side in sides)
        pairs.append(Example(row, chosen, rejected))
    return pairs


if __name__ == "__main__":
    main()
