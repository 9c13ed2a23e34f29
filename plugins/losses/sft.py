"""Supervised fine-tuning on the chosen answers: alone, or as the anchor in a mixture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from prefd.plugins.losses.logits import nll, output
from prefd.plugins.types import Loss, LossInput, LossOutput


@dataclass(frozen=True)
class SFT:
    """SFT: −log π(y_c|x) per token, the likelihood of the chosen answer alone.

    The mean over the tokens of each pair's chosen answer, so that a long answer weighs no more than a short one and the
    value compares with a perplexity (as the NLL term of Pang et al. 2024, section 2). Trainers that average
    over all tokens of the batch give long answers more weight. The rejected answer is not trained on.

    In a mixture, as in `loss: [{name: sigmoid}, {name: sft, weight: 0.1}]`, it keeps the chosen answers likely while the
    other loss pulls the pair apart; the rewards that are reported are then the other loss's. Alone, they are the mean
    log-probabilities per token of both answers: `rewards/accuracies` says how often the chosen one is the likelier.
    """

    purpose: ClassVar[str] = "beside another loss, to keep chosen answers likely"
    needs_reference: ClassVar[bool] = False
    preference: ClassVar[bool] = False

    def __call__(self, x: LossInput) -> LossOutput:
        """Computes the losses and rewards of a batch, (B,) each."""
        return output(nll(x.policy_chosen), 1.0, x.policy_chosen.means, x.policy_rejected.means)


LOSSES: dict[str, Loss] = {"sft": SFT}
