"""Holds what the families of losses share: functions of a preference logit z, and how rewards are reported.

z is the margin between chosen and rejected in nats; how a family builds it (with or without a reference) is its own.
"""

from __future__ import annotations

from typing import Annotated

import mlx.core as mx

from prefd.plugins.schema import Range
from prefd.plugins.types import Logprobs, LossOutput

Beta = Annotated[float, Range(above=0), "how hard a pair is pulled apart: the larger, the more aggressive"]
LooseBeta = Annotated[
    Beta, "how hard a pair is pulled apart: the larger, the more aggressive; begin with 0.05, for no reference holds it"
]
TargetBeta = Annotated[Beta, "sets the margin that is aimed at, 1/(2β): the larger, the smaller the margin"]
Delta = Annotated[
    float,
    Range(at_least=0),
    "how hard a chosen answer is punished that becomes less likely; if it is unstable, take 10 first",
]
Weight = Annotated[
    float, Range(at_least=0), "adds so much of the chosen answer's negative log-likelihood per token; 0 leaves it out"
]
LabelSmoothing = Annotated[
    float, Range(at_least=0, below=0.5), "the share of labels believed to be the wrong way round"
]
LengthNormalize = Annotated[bool, "the mean log-ratio of an answer's tokens, as the authors advise; false: their sum"]


MOST_NOISE = 0.1
"""The most that rounding may take of `hinge_loss`, which is 1 at the start."""


def softplus(x: mx.array) -> mx.array:
    """Computes log(1 + eˣ) = −log σ(−x), without overflow, and with every digit of its gradient."""
    return mx.logaddexp(x, 0)  # in this order: MLX's gradient in the second argument loses its digits


def logistic_loss(margins: mx.array, label_smoothing: float = 0.0) -> mx.array:
    """Computes −(1−ε) log σ(m) − ε log σ(−m), (B,): ln 2 at m = 0, whatever ε.

    The two terms are one: log σ(m) − log σ(−m) = m.
    """
    return softplus(-margins) + label_smoothing * margins


def sigmoid_loss(logits: mx.array, beta: float, label_smoothing: float = 0.0) -> mx.array:
    """Computes `logistic_loss` of β z: −log σ(β z) without label smoothing."""
    return logistic_loss(beta * logits, label_smoothing)


def beyond(values: mx.array, noise: mx.array | float = 0.0) -> mx.array:
    """Computes max(0, v), (B,), where a v within `noise` of 0 counts as 0: rounding decides neither the value nor the gradient."""
    return mx.where(values > noise, values, 0)


def hinge_loss(logits: mx.array, beta: float, noise: mx.array | float = 0.0) -> mx.array:
    """Computes max(0, 1 − β z), (B,): 1 at z = 0. `noise`: how far rounding may put z from its value, in nats.

    Of the way from the start to the corner, rounding takes MOST_NOISE at most: a loss that is 0 at the start trains nothing.
    """
    return beyond(1 - beta * logits, mx.minimum(beta * noise, MOST_NOISE))


def ipo_loss(logits: mx.array, beta: float) -> mx.array:
    """Computes (z − 1/(2β))², (B,): 1/(4β²) at z = 0."""
    return mx.square(logits - 1 / (2 * beta))


def logps(side: Logprobs, length_normalize: bool = False) -> mx.array:
    """Computes (B,) log π(y|x), or its mean per completion token."""
    return side.means if length_normalize else side.sums


def nll(side: Logprobs) -> mx.array:
    """Computes (B,) −log π(y|x) per completion token, the mean over the row's own tokens."""
    return -side.means


def output(losses: mx.array, beta: float, chosen: mx.array, rejected: mx.array) -> LossOutput:
    """Makes the output of a loss.

    Rewards are β times what the loss compares, so that their margin is β z; no gradient flows through them.
    """
    return LossOutput(losses, mx.stop_gradient(beta * chosen), mx.stop_gradient(beta * rejected))
