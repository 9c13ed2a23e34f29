"""Lets adapters compute in half precision where their model does, while their own weights stay float32.

mlx-lm's LoRA multiplies its float32 matrices with the layer's input as it is, so that MLX makes a float32 copy of the input for
each adapted layer and keeps it for the backward pass: a quarter of all that a step keeps. Here the small matrices are cast
instead, and layers that share an input share what is kept of it. Gradients reach the float32 leaves through the cast.

DoRA is left as it is: the norm of its weights needs float32, and its input's copy with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_lm.tuner.lora import LoRAEmbedding, LoRALinear, LoRASwitchLinear

MATRICES = ("lora_a", "lora_b")


class NarrowAdapter(nn.Module):
    """NarrowAdapter is a mixin for the class of a LoRA module, with the same parameters under the same names."""

    def __call__(self, x: mx.array, *args: Any, **kwargs: Any) -> Any:
        """Compute the module's output in the type of `x`, or of the embedding where `x` is token ids."""
        dtype = x.dtype if mx.issubdtype(x.dtype, mx.floating) else None
        with _hold_cast(self, dtype):
            return super().__call__(x, *args, **kwargs)

    def as_linear(self, x: mx.array) -> Any:
        """Compute logits from an embedding that is the output head too, in the type of `x`."""
        with _hold_cast(self, x.dtype):
            return super().as_linear(x)  # type: ignore[misc]  # an embedding's; the mixin has none of its own


@contextmanager
def _hold_cast(module: nn.Module, dtype: mx.Dtype | None) -> Iterator[None]:
    """Let `module` compute with its matrices cast to `dtype` inside the block; None leaves them as they are."""
    own = {name: module[name] for name in MATRICES}
    if dtype is not None:
        module.update({name: value.astype(dtype) for name, value in own.items()})
    try:
        yield
    finally:
        module.update(own)


@cache
def _make_narrow_class(kind: Any) -> type[nn.Module]:
    return type(f"Narrow{kind.__name__}", (NarrowAdapter, kind), {})


def narrow_adapters(model: nn.Module) -> None:
    """Let the LoRA modules of `model` compute in the type of their inputs; only their classes change, in place."""
    for module in model.modules():
        kind: Any = type(module)
        if kind in (LoRALinear, LoRASwitchLinear, LoRAEmbedding):
            module.__class__ = _make_narrow_class(kind)
