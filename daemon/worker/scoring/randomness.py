"""MLX's random state as a number that can be kept and put back."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

ODD = 0x9E3779B97F4A7C15  # a multiplier that spreads neighbouring numbers over all 64 bits


def state() -> int:
    """The 64 bits that everything drawn from now on depends on."""
    current: Any = mx.random.state  # typed as object
    high, low = np.array(current[0]).tolist()
    return (int(high) << 32) | int(low)


def restore(number: int) -> None:
    """Draw from now on what was drawn after `state()` gave `number`."""
    mx.random.seed(number)


def following(number: int) -> int:
    """A state unlike any that is reached from `number` by drawing."""
    return (number * ODD + 1) % 2**64
