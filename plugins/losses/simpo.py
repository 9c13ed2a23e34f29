"""SimPO: the mean log-probability per token as the reward, a target margin, and no reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from prefd.plugins.losses.logits import Beta, LabelSmoothing, Weight, logistic_loss, nll, output
from prefd.plugins.schema import Range
from prefd.plugins.types import Loss, LossInput, LossOutput


@dataclass(frozen=True)
class SimPO:
    """SimPO: −log σ(β z − γ), z of the mean log-probabilities per token, without a reference.

    Simple Preference Optimization (Meng et al. 2024, eq. 6). What it compares is what generation ranks by, so a short
    answer has no advantage over a long one. β is much larger than DPO's, for it multiplies nats per token: 2.0 to 2.5 in
    the paper, up to 10; a larger β is more aggressive. γ is the margin that β z has to reach before a pair stops
    pulling: 0.3 to 0.6 of β. Nothing anchors the policy: keep the learning rate small, and watch `logps/chosen`.

    `label_smoothing` ε is the share of labels believed to be the wrong way round, as in `sigmoid`, on β z − γ. Rewards
    are β times the mean log-probability, without γ. `nll_weight` adds that multiple of the chosen answer's negative
    log-likelihood per token, as in `cpo`, which anchors it: CPO-SimPO, where 1 is usual. 0 leaves it out.
    """

    beta: Annotated[Beta, "how hard a pair is pulled apart; of means per token, so 2 to 2.5 is usual"] = 2.0
    gamma: Annotated[float, Range(at_least=0), "the margin that is aimed at, in units of the reward"] = 1.0
    label_smoothing: LabelSmoothing = 0.0
    nll_weight: Weight = 0.0
    purpose: ClassVar[str] = "when long answers win for their length"
    needs_reference: ClassVar[bool] = False

    def __call__(self, x: LossInput) -> LossOutput:
        """Computes the losses and rewards of a batch, (B,) each."""
        chosen, rejected = x.policy_chosen.means, x.policy_rejected.means
        losses = logistic_loss(self.beta * (chosen - rejected) - self.gamma, self.label_smoothing)
        losses = losses + self.nll_weight * nll(x.policy_chosen)
        return output(losses, self.beta, chosen, rejected)


LOSSES: dict[str, Loss] = {"simpo": SimPO}
