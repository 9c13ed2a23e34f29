"""Measures how fast products, scoring and training are, and from how many tokens on more of them gain nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx import nn

from prefd.daemon.machine import blas
from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.scorer import Scorer
from prefd.daemon.worker.selftest.checks.memory import count_layers, count_vocabulary, open_model
from prefd.daemon.worker.selftest.devices import is_gpu
from prefd.daemon.worker.selftest.random_models import list_completions, make_pairs
from prefd.daemon.worker_tasks.check_results import CheckResult

ROWS = (64, 128, 256, 512, 1024, 2048, 4096)
SATURATED = 0.85
"""The share of the best rate from which on a device counts as busy."""
LEAST_GFLOPS = {"cpu": 10.0, "gpu": 100.0}
"""Of products in float32: MLX's own BLAS on a CPU has about 4, and the smallest GPU that can train has over 1,000."""
PATIENCE = 1.5
"""Seconds for one measurement, after which it is not repeated: a large model on a CPU runs once."""
REMEDIES = {
    "cpu": blas.INSTALL,
    "gpu": "is the GPU busy, hot or on a power-saving setting? Look at what else runs, and plug a laptop in",
}


@dataclass(frozen=True)
class Saturation:
    """Saturation holds the rate of products by the number of rows that are multiplied at once."""

    rates: dict[int, float]
    """Rows → GFLOP/s."""

    @property
    def best(self) -> float:
        """Return the best rate."""
        return max(self.rates.values())

    @property
    def rows(self) -> int:
        """Return the fewest rows from which on the device is busy."""
        return next(rows for rows, rate in sorted(self.rates.items()) if rate >= SATURATED * self.best)


def check(model: str | None) -> CheckResult:
    """Measure products of each type and a model's passes, and judge by the rate of float32."""
    device = "gpu" if is_gpu() else "cpu"
    size = 2048 if is_gpu() else 512
    saturations = {
        name: measure_saturation(multiply, ROWS if is_gpu() or name != "bfloat16" else ROWS[:1])
        for name, multiply in list_products(size)
    }
    numbers: dict[str, float] = {}
    for name, saturation in saturations.items():
        numbers |= {f"{name}_gflops": round(saturation.best, 1), f"{name}_saturated_at": saturation.rows}
        numbers |= {f"{name}_gflops_{rows}": round(rate, 1) for rows, rate in saturation.rates.items()}
    used = saturations["bfloat16" if is_gpu() else "float32"]
    numbers["suggested_batch_tokens"] = used.rows
    network = open_model(model)
    scorer = fastest_scorer(network)
    pairs = make_pairs(4, 64, 128, count_vocabulary(network))
    numbers |= {
        "scoring_tokens_per_second": round(measure_tokens(pairs, lambda: score(scorer, pairs))),
        "training_tokens_per_second": round(measure_tokens(pairs, lambda: differentiate(scorer, pairs))),
    }
    if scorer.options.lazily:
        numbers["graph_ms_a_layer"] = round(1000 * measure_graph(scorer, pairs) / count_layers(network), 2)
    finding = (
        f"float32 {saturations['float32'].best:.0f}, bfloat16 {saturations['bfloat16'].best:.0f}, 4-bit "
        f"{saturations['4-bit'].best:.0f} GFLOP/s; busy from {used.rows} tokens on: training.batch_tokens of no fewer; "
        f"{model or 'a random model of 4 layers'}: {numbers['scoring_tokens_per_second']:,} tokens/s scored, "
        f"{numbers['training_tokens_per_second']:,} trained"
    )
    if saturations["float32"].best < LEAST_GFLOPS[device]:
        return CheckResult(
            outcome="failed",
            finding=f"slower than {LEAST_GFLOPS[device]:g} GFLOP/s in float32: {finding}",
            numbers=numbers,
            remedy=REMEDIES[device],
        )
    return CheckResult(outcome="ok", finding=finding, numbers=numbers)


def list_products(size: int) -> Iterator[tuple[str, Callable[[int], Callable[[], mx.array]]]]:
    """List, by type, what makes the product of so many rows with a square matrix of `size`."""

    def prepare(dtype: mx.Dtype, layer: nn.Module) -> Callable[[int], Callable[[], mx.array]]:
        call: Any = layer
        layer.set_dtype(dtype)
        mx.eval(layer.parameters())

        def make_call(rows: int) -> Callable[[], mx.array]:
            x = mx.random.normal((rows, size)).astype(dtype)
            mx.eval(x)
            return lambda: call(x)

        return make_call

    usual = mx.bfloat16 if is_gpu() else mx.float32
    yield "float32", prepare(mx.float32, nn.Linear(size, size, bias=False))
    yield "bfloat16", prepare(mx.bfloat16, nn.Linear(size, size, bias=False))
    yield "4-bit", prepare(usual, nn.QuantizedLinear(size, size, bias=False, bits=4))


def measure_saturation(make_call: Callable[[int], Callable[[], mx.array]], rows: tuple[int, ...]) -> Saturation:
    """Measure the rate at each number of rows."""
    rates = {}
    for count in rows:
        call = make_call(count)
        size = call().shape[-1]
        rates[count] = 2 * count * size**2 / measure_seconds(lambda call=call: mx.eval(call())) / 1e9  # type: ignore[misc]
    return Saturation(rates)


def measure_seconds(action: Callable[[], object]) -> float:
    """Measure the shortest of six runs, fewer where they take long."""
    began = time.perf_counter()
    shortest = float("inf")
    for _ in range(6):
        run_began = time.perf_counter()
        action()
        ended = time.perf_counter()
        shortest = min(shortest, ended - run_began)
        if ended - began > PATIENCE:
            break
    return shortest


def measure_tokens(pairs: list[Example], action: Callable[[], object]) -> float:
    """Measure how many tokens of `pairs` a second `action` takes in."""
    return sum(len(side.ids) for side in list_completions(pairs)) / measure_seconds(action)


def measure_graph(scorer: Scorer, pairs: list[Example]) -> float:
    """Measure the seconds in which a forward and a backward pass is only written down, while the GPU has nothing to do."""
    completions = list_completions(pairs)
    return measure_seconds(lambda: scorer.value_and_grad(completions, lambda scored: (scored.sums.sum(), None)))


def score(scorer: Scorer, pairs: list[Example]) -> None:
    """Score all answers of `pairs`."""
    mx.eval(scorer.logprobs(list_completions(pairs)).tokens)


def differentiate(scorer: Scorer, pairs: list[Example]) -> None:
    """Run a forward and a backward pass over `pairs`."""
    mx.eval(scorer.value_and_grad(list_completions(pairs), lambda scored: (scored.sums.sum(), None)))
