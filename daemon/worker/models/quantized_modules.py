"""Turns quantized layers into plain ones and back, in each of MLX's modes.

mlx-lm's own functions are not used: they give bfloat16 whatever the model is in, and leave out the second scale that
NVFP4 experts may have.
"""

from __future__ import annotations

import mlx.core as mx
from mlx import nn
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear

QUANTIZED = (nn.QuantizedLinear, nn.QuantizedEmbedding, QuantizedSwitchLinear)
"""What can be dequantized, in each of MLX's modes."""


def float_type(module: nn.Module, plain: mx.Dtype) -> mx.Dtype:
    """What the weight of the quantized `module` is stored as when it is not quantized."""
    found: mx.Dtype = module.scales.dtype
    return found if mx.issubdtype(found, mx.floating) else plain


def dequantized(module: nn.Module, dtype: mx.Dtype = mx.float32) -> nn.Module:
    """The module that computes with the weight that the quantized `module` stands for, in full."""
    weight = unpacked(module).astype(dtype)
    if isinstance(module, nn.QuantizedEmbedding):
        made: nn.Module = nn.Embedding(1, 1)
    else:
        experts = isinstance(module, QuantizedSwitchLinear)
        made = SwitchLinear(1, 1, 1, bias=False) if experts else nn.Linear(1, 1, bias=False)
        if "bias" in module:
            made.bias = module.bias
    made.weight = weight
    return made


def unpacked(module: nn.Module) -> mx.array:
    """The weight that the quantized `module` stands for, float32. Kernels do not round what they unpack."""
    scales, biases = module.scales, module.get("biases")
    if mx.issubdtype(scales.dtype, mx.floating):
        scales = scales.astype(mx.float32)
    biases = None if biases is None else biases.astype(mx.float32)
    settings = {"group_size": module.group_size, "bits": module.bits, "mode": module.mode, "dtype": mx.float32}
    if (each := module.get("global_scale")) is None:
        return mx.dequantize(module.weight, scales, biases, **settings)
    experts = zip(module.weight, scales, each)  # mlx takes one such scale at a time
    return mx.stack([mx.dequantize(one, own, None, **settings, global_scale=whole) for one, own, whole in experts])


def quantized_like(base: nn.Module, module: nn.Module) -> nn.Module:
    """`module` quantized in the form of `base`."""
    settings = {"group_size": base.group_size, "bits": base.bits, "mode": base.mode}
    if base.get("global_scale") is not None:
        settings["global_scale"] = True
    made: nn.Module = module.to_quantized(**settings)
    return made
