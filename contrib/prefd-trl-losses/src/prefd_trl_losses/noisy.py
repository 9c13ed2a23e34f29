"""Losses for labels of which a known share is the wrong way round. z is DPO's: the margin of the two log-ratios."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import mlx.core as mx

from prefd.plugins.losses.dpo import logratios
from prefd.plugins.losses.logits import Beta, LabelSmoothing, output, softplus
from prefd.plugins.schema import Range
from prefd.plugins.types import Loss, LossInput, LossOutput


@dataclass(frozen=True)
class Robust:
    """Robust DPO: (−(1−ε) log σ(β z) + ε log σ(−β z)) / (1−2ε).

    Provably Robust DPO (Chowdhury et al. 2024, section 3.1): when a share ε of the pairs has its labels swapped, its mean
    over them is DPO's mean over the clean ones, so noise adds variance and no bias; `label_smoothing` in `sigmoid` does
    add a bias. It has no lower bound: a pair with a wide margin goes on pulling with the weight ε/(1−2ε). ε is 0.1 in
    the paper, and 0 is DPO. A larger β is more aggressive.
    """

    beta: Beta = 0.1
    label_smoothing: LabelSmoothing = 0.1

    def __call__(self, x: LossInput) -> LossOutput:
        chosen, rejected = logratios(x)
        margins = self.beta * (chosen - rejected)
        # log σ(m) − log σ(−m) = m leaves one logarithm of the two
        losses = softplus(-margins) - self.label_smoothing / (1 - 2 * self.label_smoothing) * margins
        return output(losses, self.beta, chosen, rejected)


@dataclass(frozen=True)
class EXOPair:
    """EXO on pairs: KL(q ‖ p), q = (σ(β z), σ(−β z)) the policy's belief and p = (1−ε, ε) the labels'.

    Efficient Exact Optimization (Ji et al. 2024, eq. 16): the reverse KL divergence, which settles on the better answer
    where DPO's forward one spreads over both. ε must be above 0, for its logarithm is taken; −log ε is the most that a pair
    can cost. A larger β is more aggressive.
    """

    beta: Beta = 0.1
    label_smoothing: Annotated[
        float, Range(above=0, below=0.5), "the share of labels believed to be the wrong way round"
    ] = 1e-3

    def __call__(self, x: LossInput) -> LossOutput:
        chosen, rejected = logratios(x)
        margins = self.beta * (chosen - rejected)
        right = mx.sigmoid(margins) * (-softplus(-margins) - math.log1p(-self.label_smoothing))
        wrong = mx.sigmoid(-margins) * (-softplus(margins) - math.log(self.label_smoothing))
        return output(right + wrong, self.beta, chosen, rejected)


LOSSES: dict[str, Loss] = {"robust": Robust, "exo_pair": EXOPair}
