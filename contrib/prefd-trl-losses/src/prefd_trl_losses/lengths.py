"""DPO with what an answer's length does to the loss taken out, by per-token values of policy and reference.

The cache holds the reference per token, so that any weighting of tokens, and any change of it, scores nothing again.
TRL 1.16 stores one sum an answer, weighted by the `ld_alpha` of that run, under a key without it: with another
`ld_alpha`, the old sums are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import mlx.core as mx

from prefd.plugins.losses.dpo import logratios
from prefd.plugins.losses.logits import Beta, output, sigmoid_loss
from prefd.plugins.schema import Range
from prefd.plugins.types import Logprobs, Loss, LossInput, LossOutput


@dataclass(frozen=True)
class SigmoidNorm:
    """Length-normalized DPO: −log σ(β z), z of the mean log-ratios per token.

    Tülu 3 (Lambert et al. 2024, section 5): DPO in which a long answer's many tokens do not add up to a large margin. z is
    in nats per token, so β is much larger than in `sigmoid`: the paper uses 5. A larger β is more aggressive.
    """

    beta: Beta = 5.0

    def __call__(self, x: LossInput) -> LossOutput:
        chosen, rejected = logratios(x, length_normalize=True)
        return output(sigmoid_loss(chosen - rejected, self.beta), self.beta, chosen, rejected)


@dataclass(frozen=True)
class LDSigmoid:
    """LD-DPO: −log σ(β z), the tokens beyond the shorter answer's length counted α times.

    Length Desensitization in DPO (Liu et al. 2024, section 4): with ℓ the length of the shorter of a pair's two answers,
    log π(y|x) is the sum over y's first ℓ tokens plus α times the sum over the rest, and the reference's likewise.
    `ld_alpha` 1 is DPO, 0 ignores what one answer has more than the other; the paper tunes it between, for shorter
    answers at the same quality. A larger β is more aggressive.
    """

    beta: Beta = 0.1
    ld_alpha: Annotated[float, Range(at_least=0, at_most=1), "what the tokens beyond the shorter answer count"] = 0.5

    def __call__(self, x: LossInput) -> LossOutput:
        chosen, rejected = logratios(desensitized(x, self.ld_alpha))
        return output(sigmoid_loss(chosen - rejected, self.beta), self.beta, chosen, rejected)


def desensitized(x: LossInput, alpha: float) -> LossInput:
    """`x` with every log-probability beyond the pair's shorter length multiplied by `alpha`."""
    shorter = mx.minimum(x.policy_chosen.lengths, x.policy_rejected.lengths)[:, None]

    def weighed(side: Logprobs) -> Logprobs:
        shared = mx.cumsum(side.mask, axis=-1) <= shorter
        return side._replace(tokens=mx.where(shared, side.tokens, alpha * side.tokens))

    if x.reference_chosen is None or x.reference_rejected is None:
        return LossInput(weighed(x.policy_chosen), weighed(x.policy_rejected))  # `logratios` says what is missing
    return LossInput(
        weighed(x.policy_chosen), weighed(x.policy_rejected), weighed(x.reference_chosen), weighed(x.reference_rejected)
    )


LOSSES: dict[str, Loss] = {"sigmoid_norm": SigmoidNorm, "ld_sigmoid": LDSigmoid}
