"""Compares log-probabilities and gradients, in float32, with those of full logits; on a GPU, with a CPU's.

Four architectures, with prompts shared and unlike lengths in one batch. Wrong kernels, TF32 and a shortcut that does not
hold for an architecture show here.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.scorer import Scorer
from prefd.daemon.worker.scoring.trunk import list_arrays
from prefd.daemon.worker.selftest.devices import is_gpu
from prefd.daemon.worker.selftest.full_logits import differentiate_fully
from prefd.daemon.worker.selftest.random_models import (
    ARCHITECTURES,
    SMALL,
    add_lora,
    list_completions,
    make_model,
    make_pairs,
)
from prefd.daemon.worker_tasks.check_results import CheckResult
from prefd.plugins.types import Logprobs

MOST_NATS = 1e-4
"""By which a token's log-probability may be off; float32's rounding is a tenth of it."""
MOST_GRADIENT = 1e-3
"""The share of an array's gradient by which it may be off."""
REMEDY = (
    "do not train here: report this block with your version of mlx (a driver's or a kernel's fault, or TF32); "
    "on a Mac, try another release of mlx"
)


@dataclass(frozen=True)
class Errors:
    """Errors says by how much a way of scoring is off the definition."""

    nats: float
    """The largest difference of a log-probability."""
    gradient: float
    """The largest difference of an array's gradient, as a share of it."""

    @property
    def are_small(self) -> bool:
        """Say whether both are rounding."""
        return self.nats <= MOST_NATS and self.gradient <= MOST_GRADIENT


def check(_: str | None) -> CheckResult:
    """Compare each architecture, and judge by the worst."""
    errors: dict[str, Errors] = {}
    slow = []
    completions = list_completions(make_pairs(3))
    for architecture in ARCHITECTURES:
        model = make_model(architecture, SMALL)
        add_lora(model, spread=0.02)
        scorer = fastest_scorer(model)
        if scorer.parts is None or not scorer.shares_prompts:
            slow.append(architecture)
        errors[architecture] = compare(scorer, completions)
    worst = Errors(max(each.nats for each in errors.values()), max(each.gradient for each in errors.values()))
    numbers = {f"{name}_nats": each.nats for name, each in errors.items()} | {
        f"{name}_gradient": each.gradient for name, each in errors.items()
    }
    against = "full logits on a CPU" if is_gpu() else "full logits (no GPU here to compare with a CPU)"
    finding = f"float32 is within {worst.nats:.1g} nats a token and {worst.gradient:.1g} of a gradient of {against}"
    wrong = [name for name, each in errors.items() if not each.are_small]
    if wrong:
        return CheckResult(outcome="failed", finding=f"{', '.join(wrong)}: {finding}", numbers=numbers, remedy=REMEDY)
    if slow:
        return CheckResult(
            outcome="failed",
            finding=f"{finding}, but the fast way of scoring was not taken for {', '.join(slow)}",
            numbers=numbers,
            remedy="jobs run right, and slower than need be: report this block",
        )
    return CheckResult(outcome="ok", finding=f"{finding}; {len(errors)} architectures", numbers=numbers)


def compare(scorer: Scorer, completions: list[Completion]) -> Errors:
    """Compare what `scorer` gives with full logits, which are computed on the CPU whatever the device is."""
    lengths = [len(completion.ids) - completion.start for completion in completions]
    weights = mx.array(np.random.default_rng(1).normal(size=sum(lengths)).astype(np.float32))

    def share(scored: Logprobs) -> tuple[mx.array, mx.array]:
        tokens = mx.concatenate([scored.tokens[row, :length] for row, length in enumerate(lengths)])
        return (tokens * weights).sum(), tokens

    (_, outputs), gradients = scorer.value_and_grad(completions, share)
    plain = scorer.logprobs(completions).tokens
    alone = mx.concatenate([plain[row, :length] for row, length in enumerate(lengths)])
    mx.eval(outputs, alone, gradients)
    with mx.stream(mx.cpu):
        expected, expected_gradients = differentiate_fully(scorer.model, completions, weights)
    nats = max(float(np.abs(np.array(each) - np.array(expected)).max()) for each in (outputs, alone))
    return Errors(nats, _compare_gradients(gradients, expected_gradients))


def _compare_gradients(gradients: object, expected: object) -> float:
    """Return the largest difference of an array; what is small beside the largest gradient is mostly rounding."""
    arrays = {name: np.array(value) for name, value in list_arrays(expected)}
    norms = {name: float(np.linalg.norm(value)) for name, value in arrays.items()}
    least = 0.05 * max(norms.values())
    differences = {
        name: float(np.linalg.norm(np.array(value) - arrays[name])) / max(norms[name], least)
        for name, value in list_arrays(gradients)
    }
    return max(differences.values()) if differences.keys() == arrays.keys() else float("inf")
