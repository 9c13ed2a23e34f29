"""Anchored preference optimization: where each answer shall go relative to the reference, not only their difference.

Both losses level off on either side, so that pairs which are settled, or hopeless, stop pulling.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from prefd.plugins.losses.dpo import logratios
from prefd.plugins.losses.logits import Beta, output
from prefd.plugins.types import Loss, LossInput, LossOutput


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


LOSSES: dict[str, Loss] = {"apo_zero": APOZero, "apo_down": APODown}
