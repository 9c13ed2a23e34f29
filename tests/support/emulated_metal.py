"""Emulates on a CPU the kernels that Metal chooses, so that half precision rounds as it does on a Mac.

Products add up in float32 and are rounded to the model's type; where Metal splits a long sum into parts (matmul.cpp's rule of
the base chips) the parts are added up in another order. Attention is one fused kernel where no gradient is traced, and
else scores that are rounded to the model's type. The counts of parts are close to Metal's, not the same: what this shows
is that any other order of adding up reaches the floor of the type's precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import pytest
from mlx import nn
from mlx_lm.models import llama


@dataclass
class EmulatedMetal:
    """What the emulation knows of the moment, and what it saw."""

    traces: bool = False
    """A gradient is being traced: attention is not fused then."""
    split_products: int = 0
    """How many products were added up in parts."""


def _count_parts(rows: int, columns: int, length: int) -> int:
    """Count the parts that Metal cuts a product's sums into, of (rows, length) @ (length, columns)."""
    row_tiles, column_tiles = -(-rows // 16), -(-columns // 16)
    if row_tiles * column_tiles > 1024 or length // 16 < 8 or length < max(rows, columns):
        return 1
    parts = 2
    while 2 * parts * row_tiles * column_tiles <= 512 and parts < 16:
        parts *= 2
    return parts


@contextmanager
def emulated_metal() -> Iterator[EmulatedMetal]:
    """Have every linear layer and llama's attention round as on Metal inside the block."""
    metal = EmulatedMetal()

    def multiply(x: mx.array, weight: mx.array) -> mx.array:
        wide_x, wide_weight, length = x.astype(mx.float32), weight.astype(mx.float32), x.shape[-1]
        parts = _count_parts(x.size // length, weight.shape[0], length)
        if x.dtype == mx.float32 or parts == 1:
            return (wide_x @ wide_weight.T).astype(x.dtype)
        metal.split_products += 1
        size = -(-length // parts // 16) * 16
        total = mx.array(0.0)
        for begin in range(0, length, size):
            total = total + wide_x[..., begin : begin + size] @ wide_weight[:, begin : begin + size].T
        return total.astype(x.dtype)

    def call_linear(layer: nn.Linear, x: mx.array) -> mx.array:
        product = multiply(x, layer.weight)
        return product + layer["bias"] if "bias" in layer else product

    def attend(
        queries: mx.array, keys: mx.array, values: mx.array, cache: Any, scale: float, mask: Any, sinks: Any = None
    ) -> mx.array:
        dtype, (rows, heads, length, width), key_heads = queries.dtype, queries.shape, keys.shape[1]
        rounded = metal.traces and dtype != mx.float32
        scaled = (queries * mx.array(scale, dtype)) if rounded else queries.astype(mx.float32) * scale
        grouped = scaled.astype(mx.float32).reshape(rows, key_heads, heads // key_heads, length, width)
        scores = grouped @ keys.astype(mx.float32)[:, :, None].swapaxes(-1, -2)
        scores = scores.astype(dtype) if rounded else scores
        reach = keys.shape[-2]
        if isinstance(mask, str):
            mask = mx.arange(reach - length, reach)[:, None] >= mx.arange(reach)[None]
        elif mask is not None and mask.ndim == 4:
            mask = mask[:, :, None]
        if mask is not None:
            scores = mx.where(mask, scores, mx.array(-1e30, scores.dtype))
        shares = mx.softmax(scores, axis=-1, precise=True)
        shares = (shares.astype(dtype) if rounded else shares).astype(mx.float32)
        attended = shares @ values.astype(mx.float32)[:, :, None]
        return attended.reshape(rows, heads, length, width).astype(dtype)

    def trace(function: Any, *settings: Any) -> Any:
        differentiate = value_and_grad(function, *settings)

        def run(*arguments: Any) -> Any:
            metal.traces = True
            try:
                return differentiate(*arguments)
            finally:
                metal.traces = False

        return run

    value_and_grad = mx.value_and_grad
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Linear, "__call__", call_linear)
        patch.setattr(nn.Embedding, "as_linear", lambda layer, x: multiply(x, layer.weight))
        patch.setattr(llama, "scaled_dot_product_attention", attend)
        patch.setattr(mx, "value_and_grad", trace)
        yield metal
