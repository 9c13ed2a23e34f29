"""Losses without a reference: z = log π(y_c|x) − log π(y_r|x), sums over completion tokens unless length-normalized.

Contrastive Preference Optimization (Xu et al. 2024) drops DPO's reference. Nothing anchors the policy then: start with
a smaller β than DPO's, 0.05, and watch `logps/chosen`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx

from prefd.plugins.losses.logits import Beta, Delta, hinge_loss, ipo_loss, logps, output, sigmoid_loss
from prefd.plugins.types import Loss, LossInput, LossOutput


@dataclass(frozen=True)
class CPO:
    """CPO: −log σ(β z), z without a reference.

    Contrastive Preference Optimization (Xu et al. 2024, eq. 3). A larger β is more aggressive; with no reference to
    anchor it, start at 0.05.
    """

    beta: Beta = 0.1
    needs_reference: ClassVar[bool] = False

    def __call__(self, x: LossInput) -> LossOutput:
        chosen, rejected = logps(x.policy_chosen), logps(x.policy_rejected)
        return output(sigmoid_loss(chosen - rejected, self.beta), self.beta, chosen, rejected)


@dataclass(frozen=True)
class CPOHinge:
    """CPO with a hinge: max(0, 1 − β z), z without a reference.

    SLiC-HF's rank loss (Zhao et al. 2023, eq. 1) scaled by β. Pairs past the margin stop pulling. A larger β is more
    aggressive; start at 0.05.
    """

    beta: Beta = 0.1
    needs_reference: ClassVar[bool] = False

    def __call__(self, x: LossInput) -> LossOutput:
        chosen, rejected = logps(x.policy_chosen), logps(x.policy_rejected)
        return output(hinge_loss(chosen - rejected, self.beta), self.beta, chosen, rejected)


@dataclass(frozen=True)
class CPOIPO:
    """CPO with IPO's target margin: (z − 1/(2β))², z without a reference.

    Azar et al. 2024, eq. 17, on CPO's z. Use it for noisy or contradictory labels; a larger β is a smaller target.
    `length_normalize` takes the mean per token; False gives the formula as written.
    """

    beta: Beta = 0.1
    length_normalize: bool = True
    needs_reference: ClassVar[bool] = False

    def __call__(self, x: LossInput) -> LossOutput:
        chosen = logps(x.policy_chosen, self.length_normalize)
        rejected = logps(x.policy_rejected, self.length_normalize)
        return output(ipo_loss(chosen - rejected, self.beta), self.beta, chosen, rejected)


@dataclass(frozen=True)
class CPODPOP:
    """CPO with a penalty: −log σ(β z) + δ · max(0, log π(y_r|x) − log π(y_c|x)), z without a reference.

    DPO-Positive's idea (Pal et al. 2024) where there is no reference: pairs in the wrong order are punished in
    proportion. If it is unstable, take δ down to 10 first; a larger β is more aggressive, start at 0.05.
    """

    beta: Beta = 0.1
    delta: Delta = 50.0
    needs_reference: ClassVar[bool] = False

    def __call__(self, x: LossInput) -> LossOutput:
        chosen, rejected = logps(x.policy_chosen), logps(x.policy_rejected)
        losses = sigmoid_loss(chosen - rejected, self.beta) + self.delta * mx.maximum(rejected - chosen, 0)
        return output(losses, self.beta, chosen, rejected)


LOSSES: dict[str, Loss] = {"cpo": CPO, "cpo_hinge": CPOHinge, "cpo_ipo": CPOIPO, "cpo_dpop": CPODPOP}
