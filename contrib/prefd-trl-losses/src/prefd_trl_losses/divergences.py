"""DPO under other divergences than the reverse KL: what is compared is f′(π/ref) in place of log π/ref.

f-DPO (Wang et al. 2024, arXiv:2309.16240): for a divergence with generator f, the reward of an answer is β f′(π/ref) plus what
depends on the prompt alone. The reverse KL has f′(t) = log t + 1, which is `sigmoid`. Rewards that are reported are β log π/ref with
all of them, so that jobs compare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import mlx.core as mx

from prefd.plugins.losses.dpo import logratios
from prefd.plugins.losses.logits import Beta, output, sigmoid_loss, softplus
from prefd.plugins.types import Loss, LossInput, LossOutput

MOST = 80.0
"""The largest exponent: e^80 is still a float32. An answer beyond has no gradient of its own."""


def exp_bounded(x: mx.array) -> mx.array:
    """Computes e^x, where an x above MOST counts as MOST."""
    return mx.exp(mx.minimum(x, MOST))


@dataclass(frozen=True)
class SigmoidForwardKL:
    """DPO with the forward KL: −log σ(β (e^(−r) − e^(−c))), c and r the log-ratios log π/ref of the two answers.

    f′(t) = 1 − 1/t. It covers what the reference does rather than seeking one mode, and punishes a chosen answer that becomes
    unlikely exponentially: keep the learning rate small. A larger β is more aggressive.
    """

    beta: Beta = 0.1

    def __call__(self, x: LossInput) -> LossOutput:
        chosen, rejected = logratios(x)
        scores = exp_bounded(-rejected) - exp_bounded(-chosen)
        return output(sigmoid_loss(scores, self.beta), self.beta, chosen, rejected)


@dataclass(frozen=True)
class SigmoidJS:
    """DPO with the Jensen-Shannon divergence: −log σ(β (log σ(c) − log σ(r))), c and r the log-ratios log π/ref of the two answers.

    f′(t) = log(2t/(t+1)). Between the two KLs: an answer that is much likelier than under the reference gains no more, so chosen
    answers are not pushed without end. A larger β is more aggressive.
    """

    beta: Beta = 0.1

    def __call__(self, x: LossInput) -> LossOutput:
        chosen, rejected = logratios(x)
        scores = softplus(-rejected) - softplus(-chosen)
        return output(sigmoid_loss(scores, self.beta), self.beta, chosen, rejected)


@dataclass(frozen=True)
class SigmoidAlpha:
    """DPO with an α-divergence: −log σ(β (e^((α−1)c) − e^((α−1)r)) / (α−1)), c and r the log-ratios log π/ref of the two answers.

    f′(t) = (t^(α−1) − 1)/(α−1): α near 1 is `sigmoid`, α 0 the forward KL, and 0.5 lies between. A larger β is more aggressive.
    """

    beta: Beta = 0.1
    alpha: Annotated[float, "1: the reverse KL, as sigmoid; 0: the forward KL"] = 0.5

    def __call__(self, x: LossInput) -> LossOutput:
        chosen, rejected = logratios(x)
        power = self.alpha - 1
        if math.isclose(power, 0, abs_tol=1e-6):
            scores = chosen - rejected
        else:
            scores = (exp_bounded(power * chosen) - exp_bounded(power * rejected)) / power
        return output(sigmoid_loss(scores, self.beta), self.beta, chosen, rejected)


LOSSES: dict[str, Loss] = {
    "sigmoid_forward_kl": SigmoidForwardKL,
    "sigmoid_js": SigmoidJS,
    "sigmoid_alpha": SigmoidAlpha,
}
