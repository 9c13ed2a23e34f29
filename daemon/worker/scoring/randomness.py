"""Reads MLX's random state as a number, and puts it back."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

SPREADING_FACTOR = 0x9E3779B97F4A7C15  # a multiplier that spreads neighbouring numbers over all 64 bits


def read_state() -> int:
    """Return the 64 bits that everything drawn from now on depends on."""
    state: Any = mx.random.state  # typed as object
    high, low = np.array(state[0]).tolist()
    return (int(high) << 32) | int(low)


def restore(number: int) -> None:
    """Draw from now on what was drawn after `read_state()` returned `number`."""
    mx.random.seed(number)


def derive_next(number: int) -> int:
    """Return a state unlike any that is reached from `number` by drawing."""
    return (number * SPREADING_FACTOR + 1) % 2**64
