"""Writes the adapter merged into its model: a folder that mlx-lm loads as a model of its own.

What is fused is what is on disk, base and adapter, not the model in the trainer's memory. A weight is merged in float32
and rounded once to the type it is stored in; a quantized weight keeps its form (it is quantized anew, as `mlx_lm.fuse`
does, and so loses a part of what was trained) unless it is dequantized (worker/models/quantized_modules.py).
The folder gets its name only when the model in it computes what it claims to (worker/outputs/fuse_check.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.utils import save_config, save_model

from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.adapters import adapted_modules, merged
from prefd.daemon.worker.models.quantized_modules import QUANTIZED, dequantized, float_type
from prefd.daemon.worker.models.source import HUB_FILES, ModelSource, stored_dtype
from prefd.daemon.worker.outputs.published import Published

OWN_FILES = {"config.json", "hf_quant_config.json", "model.safetensors.index.json"}
"""Written for the fused model, or not true of it."""
QUANTIZATION = ("quantization", "quantization_config", "quantize_activations")
"""What a config says of quantized weights."""


def write_fused(
    source: ModelSource, folder: Path, dequantize: bool, check: Callable[[Path], None] = lambda written: None
) -> None:
    """Publish `source`, its adapter merged, at `folder`: weights, config, and the base's own tokenizer files.

    `check` is given the folder before it has its name; when it raises, there is no such folder.
    """
    model, config = loading.open_base(source)
    stored = {name: value.dtype for name, value in parameters(model)}
    plain = getattr(mx, loading.DTYPES[stored_dtype(source)])
    loading.put_adapter(model, source)
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
