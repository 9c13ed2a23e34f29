"""A loss found by a language model that was asked for better ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import mlx.core as mx

from prefd.plugins.losses.dpo import logratios
from prefd.plugins.losses.logits import Beta, output, softplus
from prefd.plugins.schema import Range
from prefd.plugins.types import Loss, LossInput, LossOutput


@dataclass(frozen=True)
class DiscoPOP:
    """DiscoPOP: (1 − σ(m/τ)) · (−log σ(m)) + σ(m/τ) · e⁻ᵐ, m = β z with DPO's z.

    Discovered Preference Optimization, the log-ratio modulated loss (Lu et al. 2024, eq. 5): the logistic loss where the
    pair is in the wrong order, the exponential one where it is right, blended around 0 over a width of τ. It is not
    convex there. τ is 0.05 in the paper and 1 at most, or the blend would not tame e⁻ᵐ. A larger β is more aggressive.
    """

    beta: Beta = 0.1
    tau: Annotated[float, Range(above=0, at_most=1), "how fast the one loss gives way to the other"] = 0.05

    def __call__(self, x: LossInput) -> LossOutput:
        chosen, rejected = logratios(x)
        margins = self.beta * (chosen - rejected)
        logistic = softplus(-margins) * mx.sigmoid(-margins / self.tau)
        exponential = mx.exp(-margins - softplus(-margins / self.tau))  # e⁻ᵐ alone would overflow
        return output(logistic + exponential, self.beta, chosen, rejected)


LOSSES: dict[str, Loss] = {"discopop": DiscoPOP}
