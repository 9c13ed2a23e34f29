"""Gives hybrid models MLX's fused gated-delta rule where they would loop over tokens, on a GPU on which its gradients are right.

mlx-lm has a kernel for generation, which has no gradient: a model that is trained (Qwen3.5 and its kin) runs a dozen operations for each
token, one after the other. `mx.fast.gated_delta_update` does the same in chunks, with a gradient. A kernel of others for it has given
wrong gradients before, so it is tried on the device at hand: over more tokens than a chunk, with a state to begin with, with padding, and
in half precision. On a CPU it is the same loop, to the last bit, and there is nothing to gain.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx_lm.models import gated_delta

from prefd.daemon.worker.device_trouble import raise_if_device_failed

log = logging.getLogger(__name__)

TOLERANCE = {mx.float32: 1e-3, mx.bfloat16: 5e-2}
"""By type: the norm of a difference, as a share of the norm, that is rounding."""
TOKENS, HEADS, WIDTH = 150, 2, 128
"""Of the trial: more than two chunks of 64; two key heads for four value heads; as wide as Qwen3.5's are."""
Rule = Callable[..., tuple[mx.array, mx.array]]

run_loop: Rule = gated_delta.gated_delta_ops


def run_fused(
    q: mx.array,
    k: mx.array,
    v: mx.array,
    g: mx.array,
    beta: mx.array,
    state: mx.array | None = None,
    mask: mx.array | None = None,
) -> tuple[mx.array, mx.array]:
    """Run the rule as mlx-lm's `gated_delta_ops` does; a gate for each number of a key has no kernel, and runs the loop."""
    if g.ndim == 4:
        return run_loop(q, k, v, g, beta, state, mask)
    if state is None:
        state = mx.zeros((q.shape[0], *v.shape[-2:], q.shape[-1]), mx.float32)
    values, state = mx.fast.gated_delta_update(q, k, v, g, beta, state, mask)
    return values, state


def is_hybrid(model: nn.Module) -> bool:
    """Say whether mlx-lm's code of `model` uses the rule."""
    sources = {type(module).__module__ for module in model.modules()}
    return any(getattr(sys.modules.get(name), "gated_delta_update", None) is not None for name in sources)


def take_fused_rule(model: nn.Module) -> None:
    """Let hybrid models of this process run the fused rule from now on, where it is exact on this device."""
    if is_hybrid(model) and gated_delta.gated_delta_ops is run_loop and is_exact():
        log.info("gated delta: MLX's fused kernel, with its gradient")
        gated_delta.gated_delta_ops = run_fused


@cache
def is_exact() -> bool:
    """Say whether the fused rule is there, and gives the loop's numbers and gradients on this device."""
    if not hasattr(mx.fast, "gated_delta_update"):
        return False
    try:
        errors = {dtype: measure_error(dtype) for dtype in TOLERANCE}
    except (RuntimeError, ValueError) as fault:  # a kernel may not be there for this size or device
        raise_if_device_failed(fault)
        log.info("mx.fast.gated_delta_update: not on this device: %s", fault)
        return False
    if all(error <= TOLERANCE[dtype] for dtype, error in errors.items()):
        return True
    log.info(
        "mx.fast.gated_delta_update: not on this device: off by %s",
        ", ".join(f"{each:.2g}" for each in errors.values()),
    )
    return False


def measure_error(dtype: mx.Dtype) -> float:
    """Measure how far the fused rule's numbers and gradients are from the loop's, at most, as a share of their norms."""
    expected, fused = (_differentiate(rule, dtype) for rule in (run_loop, run_fused))
    return max(_compare(*pair) for pair in zip(expected, fused))


def _differentiate(rule: Rule, dtype: mx.Dtype) -> list[mx.array]:
    """Return what `rule` gives for random arrays, padded at the left of a row, and its gradients in all of them."""
    inputs = list(_draw_inputs(dtype))
    mask = mx.arange(TOKENS)[None] >= mx.array([[0], [9]])

    def compute(*arrays: mx.array) -> tuple[mx.array, list[mx.array]]:
        values, state = rule(*arrays, mask)
        values = mx.where(mask[..., None, None], values, 0)  # what comes of padding is looked at by nobody
        weights = mx.random.normal(values.shape, key=mx.random.key(9))
        return (values.astype(mx.float32) * weights).sum() + state.sum(), [values, state]

    (_, outputs), gradients = mx.value_and_grad(compute, argnums=list(range(len(inputs))))(*inputs)
    return [*outputs, *gradients]


def _draw_inputs(dtype: mx.Dtype) -> Iterator[mx.array]:
    """Yield q, k, v, the gate, beta, and the state to begin with, as a model's are: keys and queries of length 1."""
    keys: Any = mx.random.split(mx.random.key(0), 6)
    for key in keys[:2]:
        vectors = mx.random.normal((2, TOKENS, HEADS, WIDTH), key=key)
        yield (vectors / mx.linalg.norm(vectors, axis=-1, keepdims=True)).astype(dtype)
    yield mx.random.normal((2, TOKENS, 2 * HEADS, WIDTH), key=keys[2]).astype(dtype)
    yield mx.exp(-mx.random.uniform(shape=(2, TOKENS, 2 * HEADS), key=keys[3]))
    yield mx.random.uniform(shape=(2, TOKENS, 2 * HEADS), key=keys[4]).astype(dtype)
    yield 0.1 * mx.random.normal((2, 2 * HEADS, WIDTH, WIDTH), key=keys[5])


def _compare(expected: mx.array, fused: mx.array) -> float:
    difference = mx.linalg.norm((fused.astype(mx.float32) - expected.astype(mx.float32)).reshape(-1))
    return float(np.array(difference / mx.linalg.norm(expected.astype(mx.float32).reshape(-1))))
