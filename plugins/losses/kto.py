"""Losses of single answers with a label, thumbs up or down, in place of pairs.

With π the policy, r = β (log π(y|x) − log ref(y|x)), the sum over completion tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import mlx.core as mx

from prefd.plugins.losses.dpo import logratio
from prefd.plugins.losses.logits import Beta, softplus
from prefd.plugins.schema import Range
from prefd.plugins.types import Loss, UnpairedInput, UnpairedOutput

Weight = Annotated[float, Range(at_least=0), "how much good answers count; make it larger where they are the fewer"]
UndesirableWeight = Annotated[Weight, "how much bad answers count; make it larger where they are the fewer"]


def logratios(x: UnpairedInput) -> tuple[mx.array, mx.array]:
    """Computes log π(y|x) − log ref(y|x) of the answers and of the mismatched ones, (B,). Raises ValueError without a reference."""
    if x.reference is None or x.reference_mismatched is None:
        raise ValueError("this loss compares with a reference, and the batch has none")
    return (
        logratio(x.policy, x.reference, length_normalize=False),
        logratio(x.policy_mismatched, x.reference_mismatched, length_normalize=False),
    )


@dataclass(frozen=True)
class KTO:
    """KTO: 1 − σ(r − β KL) of good answers, 1 − σ(β KL − r) of bad ones.

    Kahneman-Tversky Optimization (Ethayarajh et al. 2024, eq. 8), for answers that were judged one by one. KL says how far the
    policy has moved in general: the mean of log π/ref over the batch's mismatched answers, at least 0, a constant in the
    gradient. An answer gains only by what sets it apart from that. So a batch of several answers is needed, 8 or more, and
    `batch_size` is part of what is minimised.

    The paper's advice: w_d n_d / (w_u n_u) from 1 to 4/3, with n_d good and n_u bad answers and their weights; a learning
    rate of 5e-7 to 5e-6 for all weights, ten times that for LoRA. A larger β is more aggressive.
    """

    beta: Beta = 0.1
    desirable_weight: Weight = 1.0
    undesirable_weight: UndesirableWeight = 1.0
    purpose: ClassVar[str] = "answers judged one by one, thumbs up or down"
    needs_reference: ClassVar[bool] = True
    batch_independent: ClassVar[bool] = False
    unpaired: ClassVar[bool] = True
    unchecked: ClassVar[Mapping[str, str]] = {"gradient": "the KL term is held constant in it, as in the paper"}

    def __call__(self, x: UnpairedInput) -> UnpairedOutput:
        """Computes the losses and rewards of a batch, (B,) each."""
        answers, mismatched = logratios(x)
        kl = mx.maximum(mx.stop_gradient(mismatched).mean(), 0)
        rewards = self.beta * answers
        toward = mx.where(x.desirable, 1.0, -1.0)
        weights = mx.where(x.desirable, self.desirable_weight, self.undesirable_weight)
        losses = weights * (1 - mx.sigmoid(toward * (rewards - self.beta * kl)))
        return UnpairedOutput(losses, mx.stop_gradient(rewards), {"kl": mx.broadcast_to(kl, losses.shape)})


@dataclass(frozen=True)
class BCO:
    """BCO: −log σ(r − δ) of good answers, −log σ(δ − r) of bad ones, δ the mean reward of the batch.

    Binary Classifier Optimization (Jung et al. 2024, section 4): answers as the two classes of a classifier. δ is a constant
    in the gradient: half of the good answers' mean and half of the bad ones', so that it does not follow their numbers. TRL keeps
    a running mean over the steps, a state that a resumed job would have lost; here `batch_size` is part of what is minimised.
    """

    beta: Beta = 0.1
    desirable_weight: Weight = 1.0
    undesirable_weight: UndesirableWeight = 1.0
    purpose: ClassVar[str] = "answers judged one by one, as a classifier sees them"
    needs_reference: ClassVar[bool] = True
    batch_independent: ClassVar[bool] = False
    unpaired: ClassVar[bool] = True
    unchecked: ClassVar[Mapping[str, str]] = {"gradient": "the mean reward is held constant in it, as in the paper"}

    def __call__(self, x: UnpairedInput) -> UnpairedOutput:
        """Computes the losses and rewards of a batch, (B,) each."""
        answers, _ = logratios(x)
        rewards = self.beta * answers
        held = mx.stop_gradient(rewards)
        delta = (mean_of(held, x.desirable) + mean_of(held, ~x.desirable)) / 2
        toward = mx.where(x.desirable, 1.0, -1.0)
        weights = mx.where(x.desirable, self.desirable_weight, self.undesirable_weight)
        return UnpairedOutput(weights * softplus(-toward * (rewards - delta)), held)


def mean_of(values: mx.array, counted: mx.array) -> mx.array:
    """Computes the mean of those of `values` that count; 0 where none does."""
    return mx.where(counted, values, 0).sum() / mx.maximum(counted.sum(), 1)


LOSSES: dict[str, Loss] = {"kto": KTO, "bco": BCO}
