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

from prefd.daemon.specs.model_files import list_files
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.adapters import list_adapted_modules, merge_adapter
from prefd.daemon.worker.models.quantized_modules import QUANTIZED, dequantize_module, float_type
from prefd.daemon.worker.models.source import HUB_FILES, ModelSource, stored_dtype
from prefd.daemon.worker.outputs.published import Published

REWRITTEN_FILES = {"config.json", "hf_quant_config.json", "model.safetensors.index.json"}
"""Files of the base that are written anew for the fused model, or that are not true of it."""
QUANTIZATION_KEYS = ("quantization", "quantization_config", "quantize_activations")
"""The keys of a config that describe quantized weights."""


def write_fused(
    source: ModelSource, folder: Path, dequantize: bool, check: Callable[[Path], None] = lambda folder: None
) -> None:
    """Publish `source`, its adapter merged, at `folder`: weights, config, and the base's own tokenizer files.

    `check` is given the folder before it has its name; when it raises, there is no such folder.
    """
    model, config = loading.open_base(source)
    stored_types = {name: value.dtype for name, value in list_parameters(model)}
    plain = getattr(mx, loading.DTYPES[stored_dtype(source)])
    loading.put_adapter(model, source)
    model.update_modules(
        tree_unflatten(
            [(name, merge_adapter(module, dequantize, plain=plain)) for name, module in list_adapted_modules(model)]
        )
    )
    if dequantize:
        _dequantize(model, plain)
        config = _plain_config(config)
    _restore_dtypes(model, stored_types)
    keeps_vision = "vision_tower" in getattr(model, "model", {})  # as mlx-lm's own `save` decides it
    with Published(folder) as partial:
        for path in list_other_files(source.folder):
            shutil.copyfile(path, partial / path.name)
        save_model(partial, model, donate_model=True)
        save_config(dict(config), partial / "config.json", keep_vision_config=keeps_vision)
        del model
        mx.clear_cache()
        check(partial)


def _dequantize(model: nn.Module, plain: mx.Dtype) -> None:
    """Put plain modules in place of the quantized ones of `model`."""
    modules = [(name, module) for name, module in model.named_modules() if type(module) in QUANTIZED]
    model.update_modules(
        tree_unflatten([(name, dequantize_module(module, float_type(module, plain))) for name, module in modules])
    )


def _plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return `config` without the keys of quantized weights, which its text model's config may have too."""
    plain = {name: value for name, value in config.items() if name not in QUANTIZATION_KEYS}
    if isinstance(text := plain.get("text_config"), dict):
        plain["text_config"] = {name: value for name, value in text.items() if name not in QUANTIZATION_KEYS}
    return plain


def list_parameters(model: nn.Module) -> list[tuple[str, mx.array]]:
    """List every parameter of `model` with its path."""
    leaves: Any = tree_flatten(model.parameters())
    return list(leaves)


def _restore_dtypes(model: nn.Module, stored_types: dict[str, mx.Dtype]) -> None:
    """Cast the weights to the base's types: full training in float32 leaves float32 weights."""
    restored = [
        (name, value.astype(stored_types[name]))
        for name, value in list_parameters(model)
        if name in stored_types and mx.issubdtype(stored_types[name], mx.floating) and value.dtype != stored_types[name]
    ]
    model.update(tree_unflatten(restored))


def list_other_files(folder: Path) -> list[Path]:
    """List the files of a model folder besides weights and their description: tokenizer, templates, generation settings."""
    paths = [path for path in list_files(folder, *HUB_FILES) if path.is_file()]
    return [path for path in paths if path.suffix != ".safetensors" and path.name not in REWRITTEN_FILES]
