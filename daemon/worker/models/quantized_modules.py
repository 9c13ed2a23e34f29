"""Turns quantized layers into plain ones and back, in each of MLX's modes.

mlx-lm's own functions are not used: they give bfloat16 whatever the model is in, and leave out the second scale that
NVFP4 experts may have.
"""

from __future__ import annotations

import mlx.core as mx
from mlx import nn
from mlx_lm.models.mla import MultiLinear, QuantizedMultiLinear
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear

QUANTIZED = (nn.QuantizedLinear, nn.QuantizedEmbedding, QuantizedSwitchLinear, QuantizedMultiLinear)
"""The classes of modules that can be dequantized, in each of MLX's modes."""


def float_type(module: nn.Module, plain: mx.Dtype) -> mx.Dtype:
    """Return the type that the weight of the quantized `module` is stored as when it is not quantized."""
    dtype: mx.Dtype = module.scales.dtype
    return dtype if mx.issubdtype(dtype, mx.floating) else plain


def dequantize_module(module: nn.Module, dtype: mx.Dtype = mx.float32) -> nn.Module:
    """Make the plain module that computes with the full weight that the quantized `module` stands for."""
    weight = unpack_weight(module).astype(dtype)
    if isinstance(module, nn.QuantizedEmbedding):
        plain: nn.Module = nn.Embedding(1, 1)
    elif isinstance(module, QuantizedMultiLinear):
        plain = MultiLinear(1, 1, 1)
    else:
        experts = isinstance(module, QuantizedSwitchLinear)
        plain = SwitchLinear(1, 1, 1, bias=False) if experts else nn.Linear(1, 1, bias=False)
        if "bias" in module:
            plain.bias = module.bias
    plain.weight = weight
    return plain


def unpack_weight(module: nn.Module) -> mx.array:
    """Compute the weight that the quantized `module` stands for, float32. Kernels do not round what they unpack."""
    scales, biases = module.scales, module.get("biases")
    if mx.issubdtype(scales.dtype, mx.floating):
        scales = scales.astype(mx.float32)
    biases = None if biases is None else biases.astype(mx.float32)
    settings = {"group_size": module.group_size, "bits": module.bits, "mode": module.mode, "dtype": mx.float32}
    if (global_scales := module.get("global_scale")) is None:
        return mx.dequantize(module.weight, scales, biases, **settings)
    experts = zip(module.weight, scales, global_scales)  # mlx takes one such scale at a time
    return mx.stack(
        [
            mx.dequantize(expert, expert_scales, None, **settings, global_scale=global_scale)
            for expert, expert_scales, global_scale in experts
        ]
    )


def quantize_like(base: nn.Module, module: nn.Module) -> nn.Module:
    """Quantize `module` in the form that the quantized `base` has."""
    settings = {"group_size": base.group_size, "bits": base.bits, "mode": base.mode}
    if base.get("global_scale") is not None:
        settings["global_scale"] = True
    quantized: nn.Module = module.to_quantized(**settings)
    return quantized
