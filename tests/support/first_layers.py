"""A real model's first layers: its own weights, shapes, vocabulary and tokenizer, in a fraction of the time."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import mlx.core as mx


def keep_first_layers(model: Path, folder: Path, count: int) -> Path:
    """Write the model at `model` without the layers behind its first `count` to `folder`."""
    folder.mkdir(parents=True)
    for path in model.glob("*token*"):
        shutil.copyfile(path, folder / path.name)
    config = json.loads((model / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": count}))
    weights = mx.load(str(model / "model.safetensors"))
    assert isinstance(weights, dict)
    first_weights = {name: value for name, value in weights.items() if layer_of(name) < count}
    mx.save_safetensors(str(folder / "model.safetensors"), first_weights, metadata={"format": "mlx"})
    return folder


def layer_of(weight: str) -> int:
    """The layer that a weight is of; -1 where it is of none, as the embedding is."""
    match = re.search(r"\.layers\.(\d+)\.", weight)
    return int(match[1]) if match else -1
