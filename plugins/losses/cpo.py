"""Losses without a reference: z = log π(y_c|x) − log π(y_r|x), sums over completion tokens unless length-normalized.

Contrastive Preference Optimization (Xu et al. 2024) drops DPO's reference. Nothing anchors the policy then: start with
a smaller β than DPO's, 0.05, and watch `logps/chosen`. Its paper anchors it by a second term, the negative
log-likelihood of the chosen answer (section 3.2); every loss here takes it as `nll_weight`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx

from prefd.plugins.losses.logits import (
    Delta,
    LabelSmoothing,
    LengthNormalize,
    LooseBeta,
    TargetBeta,
    Weight,
    hinge_loss,
    ipo_loss,
    logps,
    nll,
    output,
    sigmoid_loss,
)
from prefd.plugins.types import Loss, LossInput, LossOutput


@dataclass(frozen=True)
class CPO:
    """CPO: −log σ(β z), z without a reference.

    Contrastive Preference Optimization (Xu et al. 2024, eq. 3). A larger β is more aggressive; with no reference to
    anchor it, start at 0.05.

    `nll_weight` adds that multiple of the chosen answer's negative log-likelihood, the paper's second term (section
    3.2, where its weight is 1). It is the mean per token of each pair's own answer, as trainers have it, where the paper has the
    sum: 1 is much weaker than a weight of 1 on the sum. 0 leaves it out. `label_smoothing` ε is the share of labels
    believed to be the wrong way round: −(1−ε) log σ(β z) − ε log σ(−β z).
    """

    beta: LooseBeta = 0.1
    label_smoothing: LabelSmoothing = 0.0
    nll_weight: Weight = 0.0
    purpose: ClassVar[str] = "with no reference pass at all"
    needs_reference: ClassVar[bool] = False

    def __call__(self, x: LossInput) -> LossOutput:
        """Computes the losses and rewards of a batch, (B,) each."""
        chosen, rejected = logps(x.policy_chosen), logps(x.policy_rejected)
        losses = sigmoid_loss(chosen - rejected, self.beta, self.label_smoothing) + self.nll_weight * nll(
            x.policy_chosen
        )
        return output(losses, self.beta, chosen, rejected)


@dataclass(frozen=True)
class CPOHinge:
    """CPO with a hinge: max(0, 1 − β z), z without a reference.

    SLiC-HF's rank loss (Zhao et al. 2023, eq. 1) scaled by β. Pairs past the margin stop pulling. A larger β is more
    aggressive; start at 0.05. `nll_weight` adds the chosen answer's negative log-likelihood per token, as in `cpo`.
    """

    beta: LooseBeta = 0.1
    nll_weight: Weight = 0.0
    purpose: ClassVar[str] = "as hinge, with no reference pass"
    needs_reference: ClassVar[bool] = False

    def __call__(self, x: LossInput) -> LossOutput:
        """Computes the losses and rewards of a batch, (B,) each."""
        chosen, rejected = logps(x.policy_chosen), logps(x.policy_rejected)
        losses = hinge_loss(chosen - rejected, self.beta) + self.nll_weight * nll(x.policy_chosen)
        return output(losses, self.beta, chosen, rejected)


@dataclass(frozen=True)
class CPOIPO:
    """CPO with IPO's target margin: (z − 1/(2β))², z without a reference.

    Azar et al. 2024, eq. 17, on CPO's z. Use it for noisy or contradictory labels; a larger β is a smaller target.
    `length_normalize` takes the mean per token; False gives the formula as written.
    `nll_weight` adds the chosen answer's negative log-likelihood per token, as in `cpo`.
    """

    beta: TargetBeta = 0.1
    length_normalize: LengthNormalize = True
    nll_weight: Weight = 0.0
    purpose: ClassVar[str] = "as ipo, with no reference pass"
    needs_reference: ClassVar[bool] = False

    def __call__(self, x: LossInput) -> LossOutput:
        """Computes the losses and rewards of a batch, (B,) each."""
        chosen = logps(x.policy_chosen, self.length_normalize)
        rejected = logps(x.policy_rejected, self.length_normalize)
        losses = ipo_loss(chosen - rejected, self.beta) + self.nll_weight * nll(x.policy_chosen)
        return output(losses, self.beta, chosen, rejected)


@dataclass(frozen=True)
class CPODPOP:
    """CPO with a penalty: −log σ(β z) + δ · max(0, log π(y_r|x) − log π(y_c|x)), z without a reference.

    DPO-Positive's idea (Pal et al. 2024) where there is no reference: pairs in the wrong order are punished in
    proportion. If it is unstable, take δ down to 10 first; a larger β is more aggressive, start at 0.05.
    `nll_weight` adds the chosen answer's negative log-likelihood per token, as in `cpo`.
    """

    beta: LooseBeta = 0.1
    delta: Delta = 50.0
    nll_weight: Weight = 0.0
    purpose: ClassVar[str] = "as dpop, with no reference pass"
    needs_reference: ClassVar[bool] = False

    def __call__(self, x: LossInput) -> LossOutput:
        """Computes the losses and rewards of a batch, (B,) each."""
        chosen, rejected = logps(x.policy_chosen), logps(x.policy_rejected)
        penalty = self.delta * mx.maximum(rejected - chosen, 0)
        losses = sigmoid_loss(chosen - rejected, self.beta) + penalty + self.nll_weight * nll(x.policy_chosen)
        return output(losses, self.beta, chosen, rejected)


LOSSES: dict[str, Loss] = {"cpo": CPO, "cpo_hinge": CPOHinge, "cpo_ipo": CPOIPO, "cpo_dpop": CPODPOP}
