"""Defines WPO, which weighs DPO's pairs by how likely the policy itself is to give their answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx

from prefd.plugins.losses.dpo import logratios
from prefd.plugins.losses.logits import Beta, LabelSmoothing, output, sigmoid_loss
from prefd.plugins.types import Logprobs, Loss, LossInput, LossOutput

HELD_FIXED = "the weights are held fixed, so the gradient is not the derivative of the weighted value"
OF_EACH_PAIR = (
    "each pair is weighed by its own answers, so the value where policy and reference are equal is each pair's own"
)


@dataclass(frozen=True)
class WPO:
    """WPO: −w(y_c) w(y_r) log σ(β z).

    Weighted Preference Optimization (Zhou et al. 2024, eq. 2): pairs that others wrote count as much as they are like what the
    policy would write. w(y) is exp of the mean over an answer's tokens of log π(y_t) − log Σ_v π(v)²: 1 where the policy is as sure
    of each token as of what it draws on the average (the paper's alignment by sampled tokens). No gradient flows through it. It is
    what TRL's `use_weighting` makes of `sigmoid`. The weights make steps smaller at the start: raise the learning rate if it is slow.

    It needs the policy's distribution at each token, which costs what `training.token_metrics` does.
    """

    beta: Beta = 0.1
    label_smoothing: LabelSmoothing = 0.0
    purpose: ClassVar[str] = "for pairs that another model wrote"
    needs_reference: ClassVar[bool] = True
    needs_distribution: ClassVar[bool] = True
    unchecked: ClassVar[Mapping[str, str]] = {"gradient": HELD_FIXED, "reference": OF_EACH_PAIR}

    def __call__(self, x: LossInput) -> LossOutput:
        """Computes the losses and rewards of a batch, (B,) each, with the weights as a metric."""
        chosen, rejected = logratios(x)
        weights = weigh(x.policy_chosen) * weigh(x.policy_rejected)
        losses = weights * sigmoid_loss(chosen - rejected, self.beta, self.label_smoothing)
        result = output(losses, self.beta, chosen, rejected)
        return LossOutput(losses, result.chosen_rewards, result.rejected_rewards, {"weights": weights})


def weigh(side: Logprobs) -> mx.array:
    """Computes w(y), (B,), without gradient. Raises ValueError where the batch has no distributions."""
    if side.distribution is None:
        raise ValueError("this loss weighs by the policy's distribution at each token, and the batch has none")
    aligned = side._replace(tokens=side.tokens - side.distribution.log_sum_squares)
    return mx.stop_gradient(mx.exp(aligned.means))


LOSSES: dict[str, Loss] = {"wpo": WPO}
