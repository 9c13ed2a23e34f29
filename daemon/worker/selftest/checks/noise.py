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

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.scoring import plan
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.scorer import Scorer
from prefd.daemon.worker.selftest.devices import choose_size, is_gpu
from prefd.daemon.worker.selftest.random_models import list_completions, make_model, make_pairs
from prefd.daemon.worker.training.start_check import WRONG_DRIFT
from prefd.daemon.worker_tasks.check_results import CheckResult

Scores = np.ndarray[Any, np.dtype[np.float64]]
DTYPES = ("float32", "bfloat16", "float16", "4-bit")


def check(_: str | None) -> CheckResult:
    """Measure each type, and judge by the limits that the check of a job's start has."""
    numbers: dict[str, float] = {}
    wrong = []
    for dtype in DTYPES:
        pairs = make_pairs(16, prompt=12, answer=12) if is_gpu() or dtype in ("float32", "4-bit") else make_pairs(6, 8, 8)
        scorer = fastest_scorer(make_model("llama", choose_size(dtype), dtype))
        mean, largest = measure_noise(scorer, list_completions(pairs))
        numbers |= {f"{dtype}_mean": mean, f"{dtype}_max": largest}
        limit = WRONG_DRIFT["float32" if dtype == "4-bit" and not is_gpu() else dtype.replace("4-bit", "bfloat16")]
        if not mean <= limit:
            wrong.append(f"{dtype} {mean:.2g} (limit {limit:g})")
    listed = ", ".join(f"{dtype} {numbers[f'{dtype}_mean']:.1g}" for dtype in DTYPES)
    if wrong:
        return CheckResult(
            outcome="failed",
            finding=f"two ways of scoring the same tokens differ too much, in nats a token: {', '.join(wrong)}",
            numbers=numbers,
            remedy="set training.compute_dtype: float32, and report this block",
        )
    return CheckResult(
        outcome="ok", finding=f"rounding between ways of scoring, mean nats a token: {listed}", numbers=numbers
    )


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
