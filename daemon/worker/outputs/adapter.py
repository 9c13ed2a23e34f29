"""Writes an adapter in mlx-lm's own contract."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten

from prefd.daemon.worker.outputs.published import Published

WEIGHTS = "adapters.safetensors"


def save_adapter(folder: Path, model: nn.Module, config: Mapping[str, Any]) -> None:
    """Publish the trainable parameters at `folder` as mlx-lm loads them, replacing what was there."""
    with Published(folder) as partial:
        write_adapter(partial, model, config)


def write_adapter(folder: Path, model: nn.Module, config: Mapping[str, Any]) -> None:
    """Write the trainable parameters and their adapter_config.json into `folder`."""
    weights = dict(tree_flatten(model.trainable_parameters()))
    mx.save_safetensors(str(folder / WEIGHTS), weights, metadata={"format": "mlx"})
    (folder / "adapter_config.json").write_text(json.dumps(dict(config), indent=4, sort_keys=True), encoding="utf-8")
