"""Makes the check of a job's start 20 times over 40 random pairs, from scores that were made in one batch as the cache's are.

The right model must pass it each time, and a model with another adapter must not, or the check could not tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.scorer import Scorer
from prefd.daemon.worker.selftest.devices import choose_size, is_gpu, list_job_dtypes
from prefd.daemon.worker.selftest.random_models import add_lora, list_completions, make_model, make_pairs
from prefd.daemon.worker.training.start_check import StartDrift, measure_start_drift
from prefd.daemon.worker.training.trainer import pad_rows
from prefd.daemon.worker_tasks.check_results import CheckResult

PAIRS = 40
SIDES_A_CHECK = 4
"""Two pairs, as a job's own check takes."""
ADAPTER_SPREAD = 0.1
"""Of the other model's adapter: it moves a log-probability by about as much as a trained one does."""


def check(_: str | None) -> CheckResult:
    """Check the start in each type that jobs compute in here."""
    numbers: dict[str, float] = {}
    faults = []
    dtypes = list_job_dtypes()
    for dtype in dtypes:
        completions = list_completions(make_pairs(PAIRS, prompt=12, answer=16))
        model = make_model("llama", choose_size(dtype), dtype)
        scorer = fastest_scorer(model)
        reference = score_at_once(scorer, completions)
        starts = repeat_check(scorer, completions, reference, dtype)
        add_lora(model, spread=ADAPTER_SPREAD, seed=1)
        others = repeat_check(fastest_scorer(model), completions[: 2 * SIDES_A_CHECK], reference, dtype)
        numbers |= {
            f"{dtype}_drift": max(start.drift for start in starts),
            f"{dtype}_rounding": max(start.rounding for start in starts),
            f"{dtype}_other_model": min(start.drift for start in others),
        }
        doubtful = sum(start.is_doubtful for start in starts)
        if doubtful:
            faults.append(f"{doubtful} of {len(starts)} checks of the right model in {dtype} were doubtful")
        if not all(start.is_wrong for start in others):
            faults.append(f"a model with another adapter passed in {dtype}")
    drifts = ", ".join(f"{dtype} {numbers[f'{dtype}_drift']:.1g}" for dtype in dtypes)
    finding = (
        f"at most {drifts} nats a token in {PAIRS * 2 // SIDES_A_CHECK} checks of the start; another adapter is told"
    )
    if not is_gpu():
        finding += " (on a CPU jobs compute in float32 alone)"
    if faults:
        return CheckResult(
            outcome="failed",
            finding="; ".join(faults),
            numbers=numbers,
            remedy="set training.compute_dtype: float32, and report this block",
        )
    return CheckResult(outcome="ok", finding=finding, numbers=numbers)


def score_at_once(
    scorer: Scorer, completions: Sequence[Completion]
) -> list[np.ndarray[tuple[int], np.dtype[np.float32]]]:
    """Score all completions in one batch, as the reference's pass does, a row for each."""
    tokens = np.array(scorer.logprobs(completions).tokens)
    return [tokens[row, : len(each.ids) - each.start] for row, each in enumerate(completions)]


def repeat_check(
    scorer: Scorer,
    completions: Sequence[Completion],
    reference: Sequence[np.ndarray[tuple[int], np.dtype[np.float32]]],
    dtype: str,
) -> list[StartDrift]:
    """Make the check on each two pairs of `completions`, whose scores are the first of `reference`."""
    scorer.model.eval()
    starts = []
    for begin in range(0, len(completions), SIDES_A_CHECK):
        chosen = slice(begin, begin + SIDES_A_CHECK)
        starts.append(measure_start_drift(scorer, completions[chosen], pad_rows(reference[chosen]), dtype))
    return starts
