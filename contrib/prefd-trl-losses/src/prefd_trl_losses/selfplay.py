"""Self-play preference optimization, its regression on pairs."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from prefd.plugins.losses.dpo import logratios
from prefd.plugins.losses.logits import Beta, output
from prefd.plugins.types import Loss, LossInput, LossOutput


@dataclass(frozen=True)
class SPPOHard:
    """SPPO with hard labels: (log π/ref(y_c) − 1/(2β))² + (log π/ref(y_r) + 1/(2β))².

    Self-Play Preference Optimization (Wu et al. 2024, eq. 4.7), with the probability that an answer wins taken as 1 for
    the chosen and 0 for the rejected one, instead of a judge's estimate; β is 1/η. Each log-ratio has its own target, so
    the chosen answer has to become more likely. A larger β is a smaller target.
    """

    beta: Beta = 0.1

    def __call__(self, x: LossInput) -> LossOutput:
        chosen, rejected = logratios(x)
        target = 1 / (2 * self.beta)
        return output(mx.square(chosen - target) + mx.square(rejected + target), self.beta, chosen, rejected)


LOSSES: dict[str, Loss] = {"sppo_hard": SPPOHard}
