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
"""Nats a token by which the tried policies are off their reference: a steep gradient changes less where they are closer, and
one that jumps does not.
"""
NOISE = 4 * max(DISTANCES)
"""`LossInput.noise` of what is tried: answers of up to 16 tokens stay within it."""
JUMP = 0.05
"""A jump is a change by more than this share of the batch's largest gradient; a smooth loss changes by some 1e-4 of it."""

Gradients = npt.NDArray[np.float64]


def jumps_at_reference(loss: Callable[[LossInput], LossOutput]) -> bool:
    """Whether the gradient of `loss`, which takes a reference, is another on each side of policy = reference, although
    `LossInput.noise` says that the difference is rounding.
    """
    return all(_jumps(loss, distance) for distance in DISTANCES)


def _jumps(loss: Callable[[LossInput], LossOutput], distance: float) -> bool:
    found = np.stack([_gradients(loss, *moves) for moves in product((-distance, distance), repeat=2)])
    return bool(np.ptp(found, axis=0).max() > JUMP * np.abs(found).max())


def _gradients(loss: Callable[[LossInput], LossOutput], chosen: float, rejected: float) -> Gradients:
    """(2, B) the derivative of the loss along each answer's tokens, at a policy that is so many nats a token off its
    reference on either side.
    """
    same = [
        replace(pair, reference_chosen=pair.policy_chosen, reference_rejected=pair.policy_rejected)
        for pair in random_pairs(5)
    ]
    x = replace(loss_input(same, with_reference=True), noise=NOISE)

    def total(*tokens: mx.array) -> mx.array:
        policy = [side._replace(tokens=each) for side, each in zip((x.policy_chosen, x.policy_rejected), tokens)]
        return loss(replace(x, policy_chosen=policy[0], policy_rejected=policy[1])).losses.sum()

    moved = [
        side.tokens + distance * side.mask
        for side, distance in ((x.policy_chosen, chosen), (x.policy_rejected, rejected))
    ]
    slopes = mx.grad(total, argnums=(0, 1))(*moved)
    return np.stack([np.array(slope.sum(axis=-1)).astype(np.float64) for slope in slopes])
