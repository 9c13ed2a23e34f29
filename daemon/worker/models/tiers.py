"""Tells the device's tier, by which batches are sized where neither the spec, nor memory, nor a measurement says otherwise.

The sizes of GPUs are by source and by reason, and not measured: mlx-lm prefills by 2,048 tokens on a Mac, whose products saturate
at 500 to 2,000 rows; MLX holds what ten command buffers take in. A card of NVIDIA's waits for the next kernel where passes are small.
"""

from __future__ import annotations

import re
from typing import Literal

import mlx.core as mx

from prefd.daemon.worker.models import loading

Tier = Literal["cpu", "metal", "large metal", "cuda"]
LARGE_CHIPS = re.compile(r"\b(Max|Ultra)\b")
"""In the names of Apple's chips with two to eight times the GPU of the others."""


def find_tier() -> Tier:
    """Find the tier of the device that this process computes on."""
    if loading.device() == "cpu":
        return "cpu"
    return choose_tier(mx.metal.is_available(), str(mx.device_info().get("device_name", "")))


def choose_tier(is_metal: bool, name: str) -> Tier:
    """Choose the tier of the GPU called `name`."""
    if not is_metal:
        return "cuda"
    return "large metal" if LARGE_CHIPS.search(name) else "metal"
