"""Alignment by optimal transport: distributions over the batch are compared, not the two answers of each pair.

In one dimension the optimal transport matches sorted values, so a batch of one is a comparison of the pair alone. The
batch is what is computed together (`training.batch_size`), and accumulating gradients does not equal a larger one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx

from prefd.plugins.losses.dpo import logratios
from prefd.plugins.losses.logits import Beta, LabelSmoothing, logps, output, sigmoid_loss
from prefd.plugins.types import Loss, LossInput, LossOutput


@dataclass(frozen=True)
class AOT:
    """AOT, paired: −log σ(β (a₍ᵢ₎ − b₍ᵢ₎)), a the policy's log π(y_c)/π(y_r) sorted, b the reference's.

    Alignment via Optimal Transport (Melnyk et al. 2024, section 3): the policy's margins as a distribution shall exceed
    the reference's at every quantile (first-order stochastic dominance). Use a large batch: what is compared is the
    batch. `label_smoothing` as in `sigmoid`. A larger β is more aggressive.
    """

    beta: Beta = 0.1
    label_smoothing: LabelSmoothing = 0.0
    batch_independent: ClassVar[bool] = False

    def __call__(self, x: LossInput) -> LossOutput:
        chosen, rejected = logratios(x)
        assert x.reference_chosen is not None
        assert x.reference_rejected is not None
        policy = logps(x.policy_chosen) - logps(x.policy_rejected)
        reference = logps(x.reference_chosen) - logps(x.reference_rejected)
        losses = sigmoid_loss(policy - quantile_partners(policy, reference), self.beta, self.label_smoothing)
        return output(losses, self.beta, chosen, rejected)


@dataclass(frozen=True)
class AOTUnpaired:
    """AOT, unpaired: −log σ(β (c₍ᵢ₎ − r₍ᵢ₎)), the log-ratios log π/ref of all chosen and of all rejected, each sorted.

    Alignment via Optimal Transport (Melnyk et al. 2024, section 3): the rewards of chosen answers as a distribution shall
    exceed those of rejected ones at every quantile, whichever prompt they belong to. Use a large batch.
    `label_smoothing` as in `sigmoid`. A larger β is more aggressive.
    """

    beta: Beta = 0.1
    label_smoothing: LabelSmoothing = 0.0
    batch_independent: ClassVar[bool] = False

    def __call__(self, x: LossInput) -> LossOutput:
        chosen, rejected = logratios(x)
        logits = chosen - quantile_partners(chosen, rejected)
        return output(sigmoid_loss(logits, self.beta, self.label_smoothing), self.beta, chosen, rejected)


def quantile_partners(values: mx.array, others: mx.array) -> mx.array:
    """(B,) For each of `values`, that one of `others` which has the same rank; so each loss stays with its pair."""
    ranks = mx.argsort(mx.argsort(mx.stop_gradient(values)))
    return others[mx.argsort(mx.stop_gradient(others))[ranks]]


LOSSES: dict[str, Loss] = {"aot": AOT, "aot_unpaired": AOTUnpaired}
