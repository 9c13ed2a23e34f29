"""Finds losses whose gradient jumps where the policy equals its reference, as that of |z| does at 0.

There the log-ratios of a policy that has hardly moved are rounding, and their signs would choose the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from prefd.plugins.conformance.probes import loss_input, random_pairs
from prefd.plugins.types import LossInput, LossOutput

DISTANCES = (1e-5, 1e-6)
"""Nats a token by which the tried policies differ from their reference: a steep gradient changes less where they are
closer, and one that jumps does not.
"""
NOISE = 4 * max(DISTANCES)
"""`LossInput.noise` of the tried batches: answers of up to 16 tokens stay within it."""
JUMP = 0.05
"""A jump is a change by more than this share of the batch's largest gradient; a smooth loss changes by some 1e-4 of it."""

Gradients = npt.NDArray[np.float64]


def jumps_at_reference(loss: Callable[[LossInput], LossOutput], unpaired: bool = False) -> bool:
    """Says whether the gradient of `loss`, which takes a reference, is another on each side of policy = reference.

    `LossInput.noise` says there that the difference is rounding.
    """
    return all(_jumps_within(loss, distance, unpaired) for distance in DISTANCES)


def _jumps_within(loss: Callable[[LossInput], LossOutput], distance: float, unpaired: bool) -> bool:
    """Says whether the gradient jumps between policies that are `distance` off the reference, on either side of it."""
    moves = product((-distance, distance), repeat=2)
    gradients = np.stack([_compute_gradients(loss, chosen, rejected, unpaired) for chosen, rejected in moves])
    return bool(np.ptp(gradients, axis=0).max() > JUMP * np.abs(gradients).max())


def _compute_gradients(
    loss: Callable[[LossInput], LossOutput], chosen: float, rejected: float, unpaired: bool
) -> Gradients:
    """Computes the derivative of the loss along each answer's tokens, (2, B).

    The policy is so many nats a token off its reference on either side.
    """
    equal_pairs = [
        replace(pair, reference_chosen=pair.policy_chosen, reference_rejected=pair.policy_rejected)
        for pair in random_pairs(5)
    ]
    x = replace(loss_input(equal_pairs, with_reference=True, unpaired=unpaired), noise=NOISE)

    def total(*tokens: mx.array) -> mx.array:
        policy = [side._replace(tokens=each) for side, each in zip((x.policy_chosen, x.policy_rejected), tokens)]
        return loss(replace(x, policy_chosen=policy[0], policy_rejected=policy[1])).losses.sum()

    shifted = [
        side.tokens + distance * side.mask
        for side, distance in ((x.policy_chosen, chosen), (x.policy_rejected, rejected))
    ]
    slopes = mx.grad(total, argnums=(0, 1))(*shifted)
    return np.stack([np.array(slope.sum(axis=-1)).astype(np.float64) for slope in slopes])
