"""KTO: single answers with a label, thumbs up or down, in place of pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx

from prefd.plugins.losses.answers import UndesirableWeight, Weight, logratios
from prefd.plugins.losses.logits import Beta
from prefd.plugins.types import Loss, UnpairedInput, UnpairedOutput


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


LOSSES: dict[str, Loss] = {"kto": KTO}
