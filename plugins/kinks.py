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

from prefd.plugins.probes import loss_input, random_pairs
from prefd.plugins.types import Logprobs, LossInput, LossOutput

DISTANCE = 1e-5
"""Nats a token by which the tried policies are off their reference."""
NOISE = 4 * DISTANCE
"""`LossInput.noise` of what is tried: answers of up to 16 tokens stay within it."""
JUMP = 0.05
"""A jump is a change by more than this share of the batch's largest gradient; a smooth loss changes by some 1e-4 of it."""

Gradients = npt.NDArray[np.float64]


def jumps_at_reference(loss: Callable[[LossInput], LossOutput]) -> bool:
    """Whether the gradient of `loss`, which takes a reference, is another on each side of policy = reference, although
    `LossInput.noise` says that the difference is rounding.
    """
    found = np.stack([_gradients(loss, *signs) for signs in product((-1, 1), repeat=2)])
    return bool(np.ptp(found, axis=0).max() > JUMP * np.abs(found).max())


def _gradients(loss: Callable[[LossInput], LossOutput], chosen_sign: int, rejected_sign: int) -> Gradients:
    """(2, B) the derivative of the loss along each answer's tokens, at a policy that is a little off its reference."""
    same = [
        replace(pair, reference_chosen=pair.policy_chosen, reference_rejected=pair.policy_rejected)
        for pair in random_pairs(5)
    ]
    x = replace(loss_input(same, with_reference=True), noise=NOISE)

    def total(chosen: mx.array, rejected: mx.array) -> mx.array:
        policy = Logprobs(chosen, x.policy_chosen.mask), Logprobs(rejected, x.policy_rejected.mask)
        return loss(replace(x, policy_chosen=policy[0], policy_rejected=policy[1])).losses.sum()

    moved = [
        side.tokens + sign * DISTANCE * side.mask
        for side, sign in ((x.policy_chosen, chosen_sign), (x.policy_rejected, rejected_sign))
    ]
    slopes = mx.grad(total, argnums=(0, 1))(*moved)
    return np.stack([np.array(slope.sum(axis=-1)).astype(np.float64) for slope in slopes])
