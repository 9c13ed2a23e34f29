"""Anchored preference optimization: where each answer shall go relative to the reference, not only their difference.

Both losses level off on either side, so that pairs which are settled, or hopeless, stop pulling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx

from prefd.plugins.losses.answers import UndesirableWeight, Weight
from prefd.plugins.losses.answers import logratios as answer_logratios
from prefd.plugins.losses.dpo import logratios
from prefd.plugins.losses.logits import Beta, output
from prefd.plugins.types import Loss, LossInput, LossOutput, UnpairedInput, UnpairedOutput


@dataclass(frozen=True)
class APOZero:
    """APO-zero: 1 − σ(r_c) + σ(r_r), r = β (log π(y|x) − log ref(y|x)).

    Anchored Preference Optimization (D'Oosterlinck et al. 2024, eq. 7): chosen answers become likelier than under the
    reference, rejected ones less likely. For data whose chosen answers are better than what the model writes itself. A
    larger β is more aggressive.
    """

    beta: Beta = 0.1

    def __call__(self, x: LossInput) -> LossOutput:
        chosen, rejected = logratios(x)
        losses = mx.sigmoid(-self.beta * chosen) + mx.sigmoid(self.beta * rejected)
        return output(losses, self.beta, chosen, rejected)


@dataclass(frozen=True)
class APODown:
    """APO-down: σ(r_c) + 1 − σ(r_c − r_r), r = β (log π(y|x) − log ref(y|x)).

    Anchored Preference Optimization (D'Oosterlinck et al. 2024, eq. 8): both answers become less likely than under the
    reference, the rejected one more so. For data whose chosen answers are worse than what the model writes itself. A
    larger β is more aggressive.
    """

    beta: Beta = 0.1

    def __call__(self, x: LossInput) -> LossOutput:
        chosen, rejected = logratios(x)
        losses = mx.sigmoid(self.beta * chosen) + mx.sigmoid(-self.beta * (chosen - rejected))
        return output(losses, self.beta, chosen, rejected)


@dataclass(frozen=True)
class APOZeroUnpaired:
    """APO-zero of single answers: 1 − σ(r) of good ones, σ(r) of bad ones, r = β (log π(y|x) − log ref(y|x)).

    `apo_zero` for answers with a label, in place of pairs (D'Oosterlinck et al. 2024, eq. 7): KTO without its KL term, so that an
    answer's loss is its own. For data whose good answers are better than what the model writes itself. A larger β is more
    aggressive.
    """

    beta: Beta = 0.1
    desirable_weight: Weight = 1.0
    undesirable_weight: UndesirableWeight = 1.0
    unpaired: ClassVar[bool] = True

    def __call__(self, x: UnpairedInput) -> UnpairedOutput:
        answers, _ = answer_logratios(x)
        rewards = self.beta * answers
        good, bad = self.desirable_weight * mx.sigmoid(-rewards), self.undesirable_weight * mx.sigmoid(rewards)
        return UnpairedOutput(mx.where(x.desirable, good, bad), mx.stop_gradient(rewards))


LOSSES: dict[str, Loss] = {"apo_zero": APOZero, "apo_down": APODown, "apo_zero_unpaired": APOZeroUnpaired}
