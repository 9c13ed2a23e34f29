"""A loss from outside prefd: the Bradley-Terry model on the policy's own log-probabilities."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
from mlx import nn

from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import Logprobs, Loss, LossInput, LossOutput, reference_free


@reference_free
def bradley_terry(x: LossInput, *, length_normalize: bool = False) -> LossOutput:
    """Bradley-Terry: −log σ(log π(y_c|x) − log π(y_r|x)), without a reference and without β.

    The likelihood of the observed preferences when each answer's strength is its log-probability (Bradley and Terry
    1952). Nothing anchors the policy: use a small learning rate and few steps. `length_normalize` compares the mean
    log-probability per token instead of the sum, so that a short answer has no advantage.

    Extra metrics, each (B,): `pair_accuracy` is 1 where the chosen answer is the likelier one, and `mean_margin` is
    the difference that the loss compares, in nats; the trainer logs their means.
    """
    chosen = strength(x.policy_chosen, length_normalize)
    rejected = strength(x.policy_rejected, length_normalize)
    margin = chosen - rejected
    return LossOutput(
        losses=-nn.log_sigmoid(margin),  # neither it nor its gradient overflows or loses its digits
        chosen_rewards=mx.stop_gradient(chosen),
        rejected_rewards=mx.stop_gradient(rejected),
        metrics={
            "pair_accuracy": (margin > 0).astype(mx.float32),
            "mean_margin": mx.stop_gradient(margin),
        },
    )


def strength(side: Logprobs, length_normalize: bool) -> mx.array:
    """(B,) the sum of a side's per-token log-probabilities, or their mean over its completion tokens."""
    return side.means if length_normalize else side.sums


@hookimpl
def register_losses(register: Callable[[str, Loss], None]) -> None:
    register("bradley_terry", bradley_terry)
