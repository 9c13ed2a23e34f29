"""Defines the losses against a reference.

With π the policy, z = log π(y_c|x)/ref(y_c|x) − log π(y_r|x)/ref(y_r|x), every term a sum over completion tokens
unless length-normalized.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx

from prefd.plugins.losses.logits import (
    Beta,
    Delta,
    LabelSmoothing,
    LengthNormalize,
    TargetBeta,
    beyond,
    hinge_loss,
    ipo_loss,
    logps,
    output,
    sigmoid_loss,
)
from prefd.plugins.types import Logprobs, Loss, LossInput, LossOutput


def logratios(x: LossInput, length_normalize: bool = False) -> tuple[mx.array, mx.array]:
    """Computes the (chosen, rejected) log-ratios log π(y|x) − log ref(y|x), (B,). Raises ValueError without a reference."""
    if x.reference_chosen is None or x.reference_rejected is None:
        raise ValueError("this loss compares with a reference, and the batch has none")
    return (
        logratio(x.policy_chosen, x.reference_chosen, length_normalize),
        logratio(x.policy_rejected, x.reference_rejected, length_normalize),
    )


def logratio(policy: Logprobs, reference: Logprobs, length_normalize: bool) -> mx.array:
    """Computes (B,) log π(y|x) − log ref(y|x), per token before it is summed: large sums lose digits."""
    difference = Logprobs(policy.tokens - reference.tokens, policy.mask)
    return logps(difference, length_normalize)


@dataclass(frozen=True)
class Sigmoid:
    """DPO: −log σ(β z).

    Direct Preference Optimization (Rafailov et al. 2023, eq. 7), the loss to start with. β says how far the policy
    may move from the reference: 0.1 is usual, a larger β is more aggressive, 0.01 to 0.5 is the range people tune in.

    `label_smoothing` ε is the share of labels believed to be the wrong way round: −(1−ε) log σ(β z) − ε log σ(−β z),
    conservative DPO (Mitchell 2023, a note on DPO with noisy preferences). Its gradient vanishes where the policy gives
    the pair the probability 1−ε, so that no pair is pushed without end. `robust` in contrib/ is the unbiased version.
    """

    beta: Beta = 0.1
    label_smoothing: LabelSmoothing = 0.0
    purpose: ClassVar[str] = "to start with: DPO"
    needs_reference: ClassVar[bool] = True

    def __call__(self, x: LossInput) -> LossOutput:
        """Computes the losses and rewards of a batch, (B,) each."""
        chosen, rejected = logratios(x)
        losses = sigmoid_loss(chosen - rejected, self.beta, self.label_smoothing)
        return output(losses, self.beta, chosen, rejected)


@dataclass(frozen=True)
class Hinge:
    """DPO with a hinge: max(0, 1 − β z).

    From SLiC (Zhao et al. 2023) and RSO (Liu et al. 2024, eq. 8), on DPO's z. Pairs past the margin stop pulling, so it
    overfits easy pairs less than `sigmoid`; a larger β is more aggressive and reaches the margin sooner.
    """

    beta: Beta = 0.1
    purpose: ClassVar[str] = "when easy pairs overfit"
    needs_reference: ClassVar[bool] = True

    def __call__(self, x: LossInput) -> LossOutput:
        """Computes the losses and rewards of a batch, (B,) each."""
        chosen, rejected = logratios(x)
        losses = hinge_loss(chosen - rejected, self.beta, x.chosen_noise + x.rejected_noise)
        return output(losses, self.beta, chosen, rejected)


@dataclass(frozen=True)
class IPO:
    """IPO: (z − 1/(2β))².

    Identity Preference Optimization (Azar et al. 2024, eq. 17): a target margin instead of an unbounded one. Use it
    when labels are noisy or contradict each other. A larger β is a smaller target. `length_normalize` takes the mean
    log-ratio per token, as its authors advise; False gives the formula as written.
    """

    beta: TargetBeta = 0.1
    length_normalize: LengthNormalize = True
    purpose: ClassVar[str] = "for noisy or contradictory labels"
    needs_reference: ClassVar[bool] = True

    def __call__(self, x: LossInput) -> LossOutput:
        """Computes the losses and rewards of a batch, (B,) each."""
        chosen, rejected = logratios(x, self.length_normalize)
        return output(ipo_loss(chosen - rejected, self.beta), self.beta, chosen, rejected)


@dataclass(frozen=True)
class DPOP:
    """DPO-Positive: −log σ(β z) + δ · max(0, log ref(y_c|x) − log π(y_c|x)).

    Smaug (Pal et al. 2024, eq. 3, with the penalty outside the logarithm): punishes a chosen answer that becomes less
    likely than under the reference, by more than rounding (`LossInput.noise`): δ would multiply that too. Use it when the
    policy drifts from the reference. If it is unstable, take δ down to 10 first; a larger β is more aggressive.
    """

    beta: Beta = 0.1
    delta: Delta = 50.0
    purpose: ClassVar[str] = "when the policy drifts from the reference"
    needs_reference: ClassVar[bool] = True

    def __call__(self, x: LossInput) -> LossOutput:
        """Computes the losses and rewards of a batch, (B,) each."""
        chosen, rejected = logratios(x)
        penalty = beyond(-chosen, x.chosen_noise)
        losses = sigmoid_loss(chosen - rejected, self.beta) + self.delta * penalty
        return output(losses, self.beta, chosen, rejected)


LOSSES: dict[str, Loss] = {"sigmoid": Sigmoid, "hinge": Hinge, "ipo": IPO, "dpop": DPOP}
