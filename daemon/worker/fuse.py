"""The adapter merged into its model: a folder that mlx-lm loads as a model of its own.

What is fused is what is on disk, base and adapter, not the model in the trainer's memory. A weight is merged in float32
and rounded once to the type it is stored in; a quantized weight keeps its form (it is quantized anew, as `mlx_lm.fuse`
does, and so loses a part of what was trained) unless it is dequantized.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.utils import dequantize_model, save_config, save_model

from prefd.daemon.worker import models
from prefd.daemon.worker.checkpoint import Published
from prefd.daemon.worker.sources import HUB_FILES, ModelSource

OWN_FILES = {"config.json", "hf_quant_config.json", "model.safetensors.index.json"}
"""Written for the fused model, or not true of it."""


def write_fused(source: ModelSource, folder: Path, dequantize: bool) -> None:
    """Publish `source`, its adapter merged, at `folder`: weights, config, and the base's own tokenizer files."""
    model, config = models.open_base(source)
    stored = {name: value.dtype for name, value in parameters(model)}
    models.put_adapter(model, source)
    model.update_modules(
        tree_unflatten([(name, merged(module, dequantize)) for name, module in adapted_modules(model)])
    )
    if dequantize:
        dequantize_model(model)
        config = {name: value for name, value in config.items() if name not in ("quantization", "quantization_config")}
    _restore_types(model, stored)
    keeps_vision = "vision_tower" in getattr(model, "model", {})  # what mlx-lm's own `save` asks
    with Published(folder) as made:
        for path in other_files(source.folder):
            shutil.copyfile(path, made / path.name)
        save_model(made, model, donate_model=True)
        save_config(dict(config), made / "config.json", keep_vision_config=keeps_vision)


def adapted_modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Every LoRA or DoRA module with its path."""
    return [(name, module) for name, module in model.named_modules() if "lora_a" in module]


def base_of(module: nn.Module) -> nn.Module:
    """The module that the adapter `module` is on."""
    base: nn.Module = module["linear"] if "linear" in module else module["embedding"]
    return base


def merged(module: nn.Module, dequantize: bool = True, dtype: mx.Dtype | None = None) -> nn.Module:
    """The plain module that computes what the adapter `module` and its base compute together.

    Its weight is of `dtype`, which defaults to the base's; a quantized base stays so unless `dequantize`.
    """
    base = base_of(module)
    if "scales" in base:
        fused: nn.Module = module.fuse(dequantize=dequantize)
        if not dequantize:
            return fused
        fused.weight = fused.weight.astype(dtype or base.scales.dtype)
        return fused
    with weight_held(base, base.weight.astype(mx.float32)):
        fused = module.fuse()
    fused.weight = fused.weight.astype(dtype or base.weight.dtype)
    return fused


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
