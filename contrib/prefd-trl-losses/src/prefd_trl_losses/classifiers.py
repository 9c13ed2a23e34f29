"""Losses that judge each answer by itself, as a classifier does, with r = β (log π(y|x) − log ref(y|x)) as its logit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import mlx.core as mx

from prefd.plugins.losses.dpo import logratios
from prefd.plugins.losses.logits import Beta, output, softplus
from prefd.plugins.types import Loss, LossInput, LossOutput


@dataclass(frozen=True)
class NCAPair:
    """NCA on pairs: −log σ(r_c) − ½ log σ(−r_c) − ½ log σ(−r_r).

    Noise Contrastive Alignment (Chen et al. 2024, section 4.1): it optimizes the likelihood of each answer rather than
    their difference, so that the chosen one does not become less likely while the margin grows. The paper's β (its α) is
    0.01; a larger β is more aggressive.
    """

    beta: Beta = 0.1

    def __call__(self, x: LossInput) -> LossOutput:
        chosen, rejected = logratios(x)
        liked, disliked = self.beta * chosen, self.beta * rejected
        losses = softplus(-liked) + 0.5 * softplus(liked) + 0.5 * softplus(disliked)
        return output(losses, self.beta, chosen, rejected)


@dataclass(frozen=True)
class BCOPair:
    """BCO on pairs: −log σ(r_c − δ) − log σ(δ − r_r), δ the mean of all rewards of the batch.

    Binary Classifier Optimization (Jung et al. 2024, section 4): chosen and rejected answers as the two classes of a
    classifier, a bound on DPO's loss; the shift δ tightens it. δ is a constant in the gradient. A running mean over
    the steps, the usual estimate of δ, is a state that a resumed job would have lost; here it is the mean over the pairs
    that are computed together, so `batch_size` matters, and with 1 the loss is twice DPO's at half its margin. `reward_shift: false` sets
    δ to 0, as TRL 1.16 does. The paper's β is 0.01; a larger β is more aggressive.
    """

    beta: Beta = 0.1
    reward_shift: Annotated[bool, "the mean reward of the batch is taken off each; false: δ is 0"] = True
    batch_independent: ClassVar[bool] = False
    unchecked: ClassVar[Mapping[str, str]] = {"gradient": "the mean reward is held constant in it, as in the paper"}

    def __call__(self, x: LossInput) -> LossOutput:
        chosen, rejected = logratios(x)
        liked, disliked = self.beta * chosen, self.beta * rejected
        shift = mx.stop_gradient((liked + disliked).mean() / 2) if self.reward_shift else 0.0
        return output(softplus(shift - liked) + softplus(disliked - shift), self.beta, chosen, rejected)


LOSSES: dict[str, Loss] = {"nca_pair": NCAPair, "bco_pair": BCOPair}
