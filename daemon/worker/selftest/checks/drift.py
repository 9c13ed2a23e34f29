"""Makes the check of a job's start 20 times over 40 random pairs, from scores that were made in one batch as the cache's are.

Four architectures. The right model must pass it each time, and a model with another adapter must not, or the check could not tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.scorer import Scorer
from prefd.daemon.worker.selftest.devices import choose_size, is_gpu, list_job_dtypes
from prefd.daemon.worker.selftest.random_models import ARCHITECTURES, add_lora, list_completions, make_model, make_pairs
from prefd.daemon.worker.training.start_check import StartDrift, measure_start_drift
from prefd.daemon.worker.training.trainer import pad_rows
from prefd.daemon.worker_tasks.check_results import CheckResult

PAIRS = 40
SIDES_A_CHECK = 4
"""Two pairs, as a job's own check takes."""
MOST_DOUBTS = 0.1
"""The share of the checks that may be doubtful, for which a job is warned and goes on."""
ADAPTER_SPREAD = 0.1
"""Of the other model's adapter: it moves a log-probability by about as much as a trained one does."""


@dataclass(frozen=True)
class Trial:
    """Trial holds the starts of one architecture in one type: those of the right model, and of one with another adapter."""

    name: str
    right: Sequence[StartDrift]
    other: Sequence[StartDrift]

    @property
    def numbers(self) -> dict[str, float]:
        """Return the largest drift and rounding of the right model, and the smallest drift of the other."""
        return {
            f"{self.name}_drift": max(start.drift for start in self.right),
            f"{self.name}_rounding": max(start.rounding for start in self.right),
            f"{self.name}_other_model": min(start.drift for start in self.other),
        }

    def list_faults(self) -> Iterator[str]:
        """List, in words, what a job would be stopped or warned for, and what it would not be stopped for."""
        if stopped := sum(start.is_wrong for start in self.right):
            yield f"{stopped} of {len(self.right)} checks of the right model would stop a job ({self.name})"
        elif (doubtful := sum(start.is_doubtful for start in self.right)) > MOST_DOUBTS * len(self.right):
            yield f"{doubtful} of {len(self.right)} checks of the right model were doubtful ({self.name})"
        if passed := sum(not start.is_wrong for start in self.other):
            yield f"{passed} of {len(self.other)} checks of a model with another adapter passed ({self.name})"


def check(_: str | None) -> CheckResult:
    """Check the start of each architecture, in each type that jobs compute in here."""
    dtypes = list_job_dtypes()
    trials = [try_starts(architecture, dtype) for dtype in dtypes for architecture in ARCHITECTURES]
    numbers = {name: value for trial in trials for name, value in trial.numbers.items()}
    faults = [fault for trial in trials for fault in trial.list_faults()]
    if faults:
        return CheckResult(
            outcome="failed",
            finding="; ".join(faults),
            numbers=numbers,
            remedy="set training.compute_dtype: float32, and report this block",
        )
    drifts = ", ".join(
        f"{dtype} {max(trial.numbers[f'{trial.name}_drift'] for trial in trials if trial.name.endswith(dtype)):.1g}"
        for dtype in dtypes
    )
    finding = (
        f"at most {drifts} nats a token in {sum(len(trial.right) for trial in trials)} checks of the start; "
        f"another adapter is told{'' if is_gpu() else ' (on a CPU jobs compute in float32 alone)'}"
    )
    return CheckResult(outcome="ok", finding=finding, numbers=numbers)


def try_starts(architecture: str, dtype: str) -> Trial:
    """Make the check for a random model, against scores made in one batch, and for the same one with an adapter."""
    completions = list_completions(make_pairs(PAIRS, prompt=12, answer=16))
    model = make_model(architecture, choose_size(dtype), dtype)
    scorer = fastest_scorer(model)
    reference = score_at_once(scorer, completions)
    right = repeat_check(scorer, completions, reference, dtype)
    add_lora(model, spread=ADAPTER_SPREAD, seed=1)
    other = repeat_check(scorer, completions[: 2 * SIDES_A_CHECK], reference, dtype)
    return Trial(f"{architecture}_{dtype}", right, other)


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
