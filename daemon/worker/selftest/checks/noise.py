"""Measures the rounding of each type: how far scores are from each other when only what runs beside them differs.

A device chooses kernels by shape, and another kernel adds up in another order. What it comes to in half precision is what
the check of a job's start has to tell from a wrong reference, whose limits are those here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
from mlx import nn

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.scoring import plan
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.scorer import Scorer
from prefd.daemon.worker.selftest.devices import HALF, choose_size, find_compute_dtype, is_gpu
from prefd.daemon.worker.selftest.random_models import SMALL, list_completions, make_model, make_pairs
from prefd.daemon.worker.training.start_check import WRONG_DRIFT
from prefd.daemon.worker_tasks.check_results import CheckResult

Scores = np.ndarray[Any, np.dtype[np.float64]]
DTYPES = ("float32", "bfloat16", "float16", "4-bit")


def check(_: str | None) -> CheckResult:
    """Measure each type, and judge by the limits that the check of a job's start has."""
    scorers = {size: fastest_scorer(make_model("llama", size)) for size in {choose_size(dtype) for dtype in DTYPES}}
    numbers: dict[str, float] = {}
    wrong = []
    for dtype in DTYPES:
        size = choose_size(dtype)
        completions = list_completions(make_pairs(16, 12, 12) if is_gpu() or size == SMALL else make_pairs(8, 8, 8))
        scorer = put_model(scorers[size], make_model("llama", size, dtype))
        mean, largest = measure_noise(scorer, completions)
        numbers |= {f"{dtype}_mean": mean, f"{dtype}_max": largest}
        if dtype in HALF:
            exact = _score(scorers[size], completions)
            numbers[f"{dtype}_from_float32"] = float(np.abs(_score(scorer, completions) - exact).mean())
        limit = WRONG_DRIFT[find_compute_dtype(dtype)]
        if not mean <= limit:
            wrong.append(f"{dtype} {mean:.2g} (limit {limit:g})")
    if wrong:
        return CheckResult(
            outcome="failed",
            finding=f"ways of scoring the same tokens differ too much, in nats a token: {', '.join(wrong)}",
            numbers=numbers,
            remedy="set training.compute_dtype: float32, and report this block",
        )
    ways = ", ".join(f"{dtype} {numbers[f'{dtype}_mean']:.1g}" for dtype in DTYPES)
    types = ", ".join(f"{dtype} {numbers[f'{dtype}_from_float32']:.1g}" for dtype in HALF)
    return CheckResult(
        outcome="ok",
        finding=f"mean nats a token between ways of scoring: {ways}; from float32: {types}",
        numbers=numbers,
    )


def put_model(scorer: Scorer, model: nn.Module) -> Scorer:
    """Return `scorer` for another model of the same architecture, whose ways of scoring are the same."""
    parts = None if scorer.parts is None else replace(scorer.parts, model=model)
    return replace(scorer, model=model, parts=parts)


def measure_noise(scorer: Scorer, completions: Sequence[Completion]) -> tuple[float, float]:
    """Measure the mean and the largest difference of a token between any two of the ways, in nats."""
    scores = [score(scorer, completions) for score in WAYS.values()]
    differences = [np.abs(one - other) for one, other in combinations(scores, 2)]
    return max(float(each.mean()) for each in differences), max(float(each.max()) for each in differences)


def _score(scorer: Scorer, completions: Sequence[Completion]) -> Scores:
    tokens = np.array(scorer.logprobs(completions).tokens).astype(np.float64)
    rows = [tokens[row, : len(each.ids) - each.start] for row, each in enumerate(completions)]
    return np.asarray(np.concatenate(rows))


def _score_apart(scorer: Scorer, completions: Sequence[Completion]) -> Scores:
    equal = replace(scorer.options, slack=plan.EQUAL)
    return _score(replace(scorer, shares_prompts=False, options=equal), completions)


def _score_by_pairs(scorer: Scorer, completions: Sequence[Completion]) -> Scores:
    return np.concatenate([_score(scorer, completions[begin : begin + 4]) for begin in range(0, len(completions), 4)])


def _score_in_trace(scorer: Scorer, completions: Sequence[Completion]) -> Scores:
    """Score as under a gradient's trace, where Metal's attention is not one fused kernel."""
    return _score(replace(scorer, options=replace(scorer.options, lazily=True, as_trained=True)), completions)


def _score_untraced(scorer: Scorer, completions: Sequence[Completion]) -> Scores:
    return _score(replace(scorer, options=replace(scorer.options, lazily=True, as_trained=False)), completions)


WAYS: dict[str, Callable[[Scorer, Sequence[Completion]], Scores]] = {
    "all at once": _score,
    "apart": _score_apart,
    "two pairs at a time": _score_by_pairs,
    "in a trace": _score_in_trace,
    "without a trace": _score_untraced,
}
