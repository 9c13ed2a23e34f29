"""Merges an adapter's layers into the plain layers under them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import mlx.core as mx
from mlx import nn

from prefd.daemon.worker.models.quantized_modules import QUANTIZED, dequantize_module, float_type, quantize_like


def list_adapted_modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """List every LoRA or DoRA module of `model` with its path."""
    return [(name, module) for name, module in model.named_modules() if "lora_a" in module]


def get_base(module: nn.Module) -> nn.Module:
    """Return the module that the adapter `module` is on."""
    base: nn.Module = module["linear"] if "linear" in module else module["embedding"]
    return base


def merge_adapter(
    module: nn.Module, dequantize: bool = True, dtype: mx.Dtype | None = None, plain: mx.Dtype = mx.float32
) -> nn.Module:
    """Make the plain module that computes what the adapter `module` and its base compute together.

    Its weight is of `dtype`, which defaults to the base's own, or `plain` where that has none (the scales of MXFP4,
    MXFP8 and NVFP4 are no floats); a quantized base stays so unless `dequantize`.
    """
    base = get_base(module)
    if "scales" in base and type(base) not in QUANTIZED:
        own: nn.Module = module.fuse(dequantize=dequantize)  # a model's own kind, whose adapter knows it
        return own
    if "scales" not in base:
        with hold_weight(base, base.weight.astype(mx.float32)):
            fused: nn.Module = module.fuse()
        fused.weight = fused.weight.astype(dtype or base.weight.dtype)
        return fused
    place = "linear" if "linear" in module else "embedding"
    module[place] = dequantize_module(base)
    try:
        fused = module.fuse()
    finally:
        module[place] = base
    fused.weight = fused.weight.astype(dtype or float_type(base, plain))
    return fused if dequantize else quantize_like(base, fused)


@contextmanager
def hold_weight(module: nn.Module, weight: mx.array) -> Iterator[None]:
    """Let `module` compute with `weight` inside the block, and with its own weight again after it."""
    own = module.weight
    module.weight = weight
    try:
        yield
    finally:
        module.weight = own
