"""The adapter merged into its model: a folder that mlx-lm loads as a model of its own.

What is fused is what is on disk, base and adapter, not the model in the trainer's memory. A weight is merged in float32
and rounded once to the type it is stored in; a quantized weight keeps its form (it is quantized anew, as `mlx_lm.fuse`
does, and so loses a part of what was trained) unless it is dequantized. mlx-lm's own functions for the latter are not
used: they give bfloat16 whatever the model is in, and leave out the second scale that NVFP4 experts may have.
The folder gets its name only when the model in it computes what it claims to (worker/fusecheck.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear
from mlx_lm.utils import save_config, save_model

from prefd.daemon.worker import models
from prefd.daemon.worker.checkpoint import Published
from prefd.daemon.worker.sources import HUB_FILES, ModelSource, stored_dtype

OWN_FILES = {"config.json", "hf_quant_config.json", "model.safetensors.index.json"}
"""Written for the fused model, or not true of it."""
QUANTIZED = (nn.QuantizedLinear, nn.QuantizedEmbedding, QuantizedSwitchLinear)
"""What can be dequantized, in each of MLX's modes."""
QUANTIZATION = ("quantization", "quantization_config", "quantize_activations")
"""What a config says of quantized weights."""


def write_fused(
    source: ModelSource, folder: Path, dequantize: bool, check: Callable[[Path], None] = lambda written: None
) -> None:
    """Publish `source`, its adapter merged, at `folder`: weights, config, and the base's own tokenizer files.

    `check` is given the folder before it has its name; when it raises, there is no such folder.
    """
    model, config = models.open_base(source)
    stored = {name: value.dtype for name, value in parameters(model)}
    plain = getattr(mx, models.DTYPES[stored_dtype(source)])
    models.put_adapter(model, source)
    model.update_modules(
        tree_unflatten([(name, merged(module, dequantize, plain=plain)) for name, module in adapted_modules(model)])
    )
    if dequantize:
        _dequantize(model, plain)
        config = _plain_config(config)
    _restore_types(model, stored)
    keeps_vision = "vision_tower" in getattr(model, "model", {})  # what mlx-lm's own `save` asks
    with Published(folder) as made:
        for path in other_files(source.folder):
            shutil.copyfile(path, made / path.name)
        save_model(made, model, donate_model=True)
        save_config(dict(config), made / "config.json", keep_vision_config=keeps_vision)
        del model
        mx.clear_cache()
        check(made)


def adapted_modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Every LoRA or DoRA module with its path."""
    return [(name, module) for name, module in model.named_modules() if "lora_a" in module]


def base_of(module: nn.Module) -> nn.Module:
    """The module that the adapter `module` is on."""
    base: nn.Module = module["linear"] if "linear" in module else module["embedding"]
    return base


def merged(
    module: nn.Module, dequantize: bool = True, dtype: mx.Dtype | None = None, plain: mx.Dtype = mx.float32
) -> nn.Module:
    """The plain module that computes what the adapter `module` and its base compute together.

    Its weight is of `dtype`, which defaults to the base's own, or `plain` where that has none (the scales of MXFP4,
    MXFP8 and NVFP4 are no floats); a quantized base stays so unless `dequantize`.
    """
    base = base_of(module)
    if "scales" in base and type(base) not in QUANTIZED:
        own: nn.Module = module.fuse(dequantize=dequantize)  # a model's own kind, whose adapter knows it
        return own
    if "scales" not in base:
        with weight_held(base, base.weight.astype(mx.float32)):
            fused: nn.Module = module.fuse()
        fused.weight = fused.weight.astype(dtype or base.weight.dtype)
        return fused
    place = "linear" if "linear" in module else "embedding"
    module[place] = dequantized(base)
    try:
        fused = module.fuse()
    finally:
        module[place] = base
    fused.weight = fused.weight.astype(dtype or float_type(base, plain))
    return fused if dequantize else quantized_like(base, fused)


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


def _dequantize(model: nn.Module, plain: mx.Dtype) -> None:
    found = [(name, module) for name, module in model.named_modules() if type(module) in QUANTIZED]
    model.update_modules(
        tree_unflatten([(name, dequantized(module, float_type(module, plain))) for name, module in found])
    )


def _plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` without what it says of quantized weights, which it may say of its text model too."""
    kept = {name: value for name, value in config.items() if name not in QUANTIZATION}
    if isinstance(text := kept.get("text_config"), dict):
        kept["text_config"] = {name: value for name, value in text.items() if name not in QUANTIZATION}
    return kept


@contextmanager
def weight_held(module: nn.Module, weight: mx.array) -> Iterator[None]:
    """`module` computes with `weight` inside the block, and with its own again behind it."""
    own = module.weight
    module.weight = weight
    try:
        yield
    finally:
        module.weight = own


def parameters(model: nn.Module) -> list[tuple[str, mx.array]]:
    """Every parameter with its path."""
    found: Any = tree_flatten(model.parameters())
    return list(found)


def _restore_types(model: nn.Module, stored: dict[str, mx.Dtype]) -> None:
    """Full training in float32 leaves float32 weights; the fused model has the base's types."""
    cast = [
        (name, value.astype(stored[name]))
        for name, value in parameters(model)
        if name in stored and mx.issubdtype(stored[name], mx.floating) and value.dtype != stored[name]
    ]
    model.update(tree_unflatten(cast))


def other_files(folder: Path) -> list[Path]:
    """What a model folder has besides weights and their description: the tokenizer, templates, generation settings."""
    found = {path for pattern in HUB_FILES for path in folder.glob(pattern) if path.is_file()}
    return sorted(path for path in found if path.suffix != ".safetensors" and path.name not in OWN_FILES)
