"""ORPO: the likelihood of the chosen answer, and the odds of the two answers, without a reference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import mlx.core as mx

from prefd.plugins.losses.logits import Beta, nll, output, softplus
from prefd.plugins.types import Loss, LossInput, LossOutput

CERTAIN = -1e-6
"""A mean log-probability above this counts as this: the odds of what is certain are infinite."""


def log_complement(logps: mx.array) -> mx.array:
    """Computes log(1 − e^x) of x < 0, with every digit near either end."""
    near = mx.log(-mx.expm1(mx.maximum(logps, -1.0)))
    far = mx.log1p(-mx.exp(mx.minimum(logps, -math.log(2))))
    return mx.where(logps > -math.log(2), near, far)


@dataclass(frozen=True)
class ORPO:
    """ORPO: −log π(y_c|x) per token − β log σ(log odds(y_c) − log odds(y_r)), odds = p/(1−p), p = π(y|x) per token.

    Odds Ratio Preference Optimization (Hong et al. 2024, eq. 6 and 7): fine-tuning on the chosen answer and preference in one, with
    no reference, so from a base model too. β is the paper's λ: 0.1 is usual; a larger β is more aggressive. Take a learning rate
    of fine-tuning, larger than DPO's. The first term is the mean over the answer's own tokens; TRL has the prompt's in it too.
    """

    beta: Annotated[Beta, "how much the odds count beside the likelihood"] = 0.1
    purpose: ClassVar[str] = "from a base model, with no reference pass"
    needs_reference: ClassVar[bool] = False

    def __call__(self, x: LossInput) -> LossOutput:
        chosen, rejected = (mx.minimum(side.means, CERTAIN) for side in (x.policy_chosen, x.policy_rejected))
        log_odds = (chosen - log_complement(chosen)) - (rejected - log_complement(rejected))
        losses = nll(x.policy_chosen) + self.beta * softplus(-log_odds)
        metrics = {"log_odds": mx.stop_gradient(log_odds), "nll": mx.stop_gradient(nll(x.policy_chosen))}
        result = output(losses, self.beta, x.policy_chosen.means, x.policy_rejected.means)
        return LossOutput(result.losses, result.chosen_rewards, result.rejected_rewards, metrics)


LOSSES: dict[str, Loss] = {"orpo": ORPO}
