"""AlphaPO: SimPO with another shape of its reward."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import mlx.core as mx

from prefd.plugins.losses.logits import Beta, LabelSmoothing, logistic_loss, output
from prefd.plugins.schema import Range
from prefd.plugins.types import Loss, LossInput, LossOutput
from prefd_trl_losses.divergences import exp_bounded


@dataclass(frozen=True)
class AlphaPO:
    """AlphaPO: −log σ(β (a_c − a_r) − γ), a = (1 − p^(−α))/α, p = π(y|x) per token, without a reference.

    AlphaPO (Gupta et al. 2025, arXiv:2501.03884, eq. 6). α bends the reward: 0 is SimPO's log p; above 0 it falls ever faster for
    unlikely answers, below 0 it levels off, so that rejected answers are pushed less far down. 0.25 is a usual α, -1 to 1
    the range. β and γ are as in `simpo`. Nothing anchors the policy: keep the learning rate small, and watch `logps/chosen`.
    """

    beta: Annotated[Beta, "how hard a pair is pulled apart; of means per token, so 2 to 2.5 is usual"] = 2.0
    gamma: Annotated[float, Range(at_least=0), "the margin that is aimed at, in units of the reward"] = 1.0
    alpha: Annotated[float, "how the reward is bent: 0 is simpo"] = 0.25
    label_smoothing: LabelSmoothing = 0.0
    purpose: ClassVar[str] = "simpo with a reward that levels off, or falls faster"
    needs_reference: ClassVar[bool] = False

    def __call__(self, x: LossInput) -> LossOutput:
        chosen, rejected = (self.shape(side.means) for side in (x.policy_chosen, x.policy_rejected))
        losses = logistic_loss(self.beta * (chosen - rejected) - self.gamma, self.label_smoothing)
        return output(losses, self.beta, chosen, rejected)

    def shape(self, logps: mx.array) -> mx.array:
        """Computes (1 − p^(−α))/α of log p, (B,)."""
        if math.isclose(self.alpha, 0, abs_tol=1e-6):
            return logps
        return (1 - exp_bounded(-self.alpha * logps)) / self.alpha


LOSSES: dict[str, Loss] = {"alphapo": AlphaPO}
