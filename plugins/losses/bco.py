"""BCO: single answers with a label as the two classes of a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx

from prefd.plugins.losses.answers import UndesirableWeight, Weight, logratios
from prefd.plugins.losses.logits import Beta, softplus
from prefd.plugins.types import Loss, UnpairedInput, UnpairedOutput


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


LOSSES: dict[str, Loss] = {"bco": BCO}
