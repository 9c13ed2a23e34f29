"""The losses that a client may name: functions of the log-probability of each target, and of what the client gives for it.

Any other loss of a client's own reaches the worker as `cross_entropy`, whose weights are its gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import mlx.core as mx

Given = Mapping[str, mx.array]
"""What a client gives by name, each (B, T) and 0 behind the end of a sequence."""


def compute_cross_entropy(logprobs: mx.array, inputs: Given) -> mx.array:
    """Compute −logprob · weight for each target: (B, T)."""
    return -logprobs * inputs["weights"]


def compute_importance_sampling(logprobs: mx.array, inputs: Given) -> mx.array:
    """Compute −exp(logprob − the sampler's logprob) · advantage for each target: (B, T)."""
    return -mx.exp(logprobs - inputs["logprobs"]) * inputs["advantages"]


@dataclass(frozen=True)
class TokenLoss:
    """TokenLoss is a loss that is a sum over targets, with the names of what it takes for each."""

    compute: Callable[[mx.array, Given], mx.array]
    takes: tuple[str, ...]
    defaults: Mapping[str, float]
    """What stands for each target where the client leaves a name out; what has no default must be given."""


LOSSES: Mapping[str, TokenLoss] = {
    "cross_entropy": TokenLoss(compute_cross_entropy, ("weights",), {"weights": 1.0}),
    "importance_sampling": TokenLoss(compute_importance_sampling, ("logprobs", "advantages"), {}),
}
