"""Decides whether a policy that starts as the reference gives the reference's numbers, as far as rounding lets it be told.

In half precision any other order of adding up moves a log-probability: by 0.05 nats a token for SmolLM2 in bfloat16, by less
for larger models. A device chooses kernels by the shapes of a batch, so the numbers in the cache and those of two pairs
alone are never of the same kernels. So the rounding is measured where it matters: the same pairs are scored in two ways
that share no shape, and what they differ by is what the right model may differ by. A wrong model is several times beyond.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import mlx.core as mx
import numpy as np

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.scoring import plan
from prefd.daemon.worker.scoring.scorer import Scorer
from prefd.plugins.types import Logprobs

EXPECTED_DRIFT = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 5e-2}
"""Compute dtype → nats a token of rounding that are nothing to speak of, whatever the pairs at hand show."""
WRONG_DRIFT = {"float32": 1e-3, "float16": 4e-2, "bfloat16": 1e-1}
"""Compute dtype → nats a token up to which a drift is never taken for another model's; in float32 nothing lies between."""
NOISE_FACTOR = 1.75
"""How many times the measured rounding the drift may be without a word: 0.8 to 1.2 times were seen (tests/support/emulated_metal.py)."""
WRONG_FACTOR = 3.5
"""How many times the measured rounding the drift of the right model never is."""


@dataclass(frozen=True)
class StartDrift:
    """StartDrift says how far an untrained policy's log-probabilities are from the reference's, in nats a token (a mean)."""

    drift: float
    rounding: float
    """How far two ways of scoring the same pairs under the policy are from each other."""
    compute_dtype: str

    @property
    def expected(self) -> float:
        """Return the drift up to which it is rounding."""
        return max(EXPECTED_DRIFT[self.compute_dtype], NOISE_FACTOR * self._finite_rounding)

    @property
    def wrong(self) -> float:
        """Return the drift beyond which the reference is not this model."""
        return max(WRONG_DRIFT[self.compute_dtype], WRONG_FACTOR * self._finite_rounding)

    @property
    def _finite_rounding(self) -> float:
        return self.rounding if math.isfinite(self.rounding) else 0.0

    @property
    def is_wrong(self) -> bool:
        """Say whether the cached reference cannot be of this model; a drift that is no number is wrong too."""
        return not self.drift <= self.wrong

    @property
    def is_doubtful(self) -> bool:
        """Say whether the drift is more than rounding explains, and less than another model would give."""
        return not self.drift <= self.expected

    def describe(self) -> str:
        """Say the drift beside what rounding alone does."""
        return (
            f"step 0: the policy starts as the reference, and their log-probabilities differ by {self.drift:.2g} nats a token "
            f"({self.compute_dtype}; two ways of scoring these pairs differ by {self.rounding:.2g})"
        )


def measure_start_drift(
    scorer: Scorer, completions: Sequence[Completion], reference: Logprobs, compute_dtype: str
) -> StartDrift:
    """Measure how far the scores that `scorer` gives `completions` are from `reference` (B, T), and how far that is rounding.

    The model must be in evaluation mode.
    """
    policy = scorer.logprobs(completions)
    apart = replace(scorer, shares_prompts=False, options=replace(scorer.options, slack=plan.EQUAL))
    return StartDrift(
        _measure_mean_difference(policy, reference),
        _measure_mean_difference(policy, apart.logprobs(completions)),
        compute_dtype,
    )


def _measure_mean_difference(scores: Logprobs, others: Logprobs) -> float:
    return float(np.array(mx.abs(scores.tokens - others.tokens).sum() / scores.mask.sum()))
