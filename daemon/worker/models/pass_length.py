"""Bounds how many tokens a GPU computes at once, so that nothing keeps it busy for long without a break.

macOS ends a command buffer that makes the display wait, and the job with it. MLX puts at most some forty operations into one, about a
layer's, so what a layer takes is measured, on this machine with this model. A CPU has no display that waits for it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import mlx.core as mx
from mlx import nn

from prefd.daemon.worker.models import loading

log = logging.getLogger(__name__)

LONGEST_SECONDS = 0.5
SLOW_PASSES = 2
"""How many passes are to take longer before others are shorter: one may have compiled a kernel, or waited for another program."""
SAMPLE_TOKENS = 512
"""Tokens of the measured pass: enough to keep a GPU busy. Batches are not bounded below it."""

PREFILL_TOKENS = 2048
"""Tokens of a prompt that run at once before a continuation is drawn, where the device stands as many."""


def measure_layer(network: nn.Module) -> float:
    """Return the seconds that a layer of the model takes for SAMPLE_TOKENS tokens: of a second pass, for the first one compiles."""
    run: Any = network
    layers: Any = network.layers
    tokens = mx.zeros((1, SAMPLE_TOKENS), mx.int32)
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        mx.eval(run(tokens))
        seconds = time.perf_counter() - began
    return seconds / max(1, len(layers))


def bound_tokens(network: nn.Module, most: int, measure: Callable[[nn.Module], float] = measure_layer) -> int:
    """Return how many tokens to compute at once: `most`, halved until a layer takes LONGEST_SECONDS at most."""
    if loading.device() == "cpu":
        return most
    seconds, tokens = measure(network) / SAMPLE_TOKENS, most
    while tokens > SAMPLE_TOKENS and seconds * tokens > LONGEST_SECONDS:
        tokens //= 2
    if tokens < most:
        log.info("passes of %d tokens: %d would keep the GPU from the display for %.1f s", tokens, most, seconds * most)
    return tokens
