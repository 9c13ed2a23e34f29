"""Adapters as training leaves them, without the training: every trainable value moved at random, saved as jobs do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.utils import tree_flatten, tree_unflatten
from safetensors.numpy import load_file

from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.fine_tune import make_trainable
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.outputs.adapter import save_adapter

TOKENS = mx.array([[5, 6, 7, 8, 9, 10, 11]])


def move(model: nn.Module, seed: int = 1) -> None:
    """Change every trainable value by about 0.05."""
    leaves: Any = tree_flatten(model.trainable_parameters())
    keys = mx.random.split(mx.random.key(seed), len(leaves))
    moved = [(name, value + 0.05 * mx.random.normal(value.shape, key=key)) for (name, value), key in zip(leaves, keys)]
    model.update(tree_unflatten(moved))


def adapted(model: Path, adapter: Path, **training: Any) -> tuple[ModelSource, nn.Module]:
    """Write an adapter for `model` to the folder `adapter`; the source with it, and the policy that it came from."""
    lora = {} if training.get("fine_tune") == "full" else {"rank": 4, "scale": 2.5}
    spec = TrainingSpec.model_validate({"lora": lora} | training)
    source = ModelSource(str(model), quantize=spec.quantize)
    mx.random.seed(0)
    policy = loading.load(source)
    network = make_trainable(policy, source, spec)
    move(policy)
    policy.eval()
    save_adapter(adapter, policy, network.adapter_config(source))
    return replace(source, adapter=adapter), policy


def logits(model: nn.Module) -> mx.array:
    output: mx.array = model(TOKENS)
    return output.astype(mx.float32)


def apart(one: mx.array, other: mx.array) -> float:
    """The largest difference."""
    return float(mx.abs(one - other).max())


def by_pefts_formula(folder: Path, weights: dict[str, mx.array]) -> dict[str, mx.array]:
    """`weights` as PEFT's adapter at `folder` makes them, in float64: W + α/r B A, its rows scaled to m where use_dora."""
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = {
        name: value.astype(np.float64) for name, value in load_file(folder / "adapter_model.safetensors").items()
    }
    weights_left = dict(weights)
    for module in config["target_modules"]:
        path = f"base_model.model.{module}"
        weight = np.array(weights[f"{module}.weight"], np.float64)
        scaling = config["lora_alpha"] / config["r"]
        weight += scaling * tensors.pop(f"{path}.lora_B.weight") @ tensors.pop(f"{path}.lora_A.weight")
        if config["use_dora"]:
            magnitude = tensors.pop(f"{path}.lora_magnitude_vector")
            weight *= (magnitude / np.linalg.norm(weight, axis=1))[:, None]
        weights_left[f"{module}.weight"] = mx.array(weight.astype(np.float32))
    assert not tensors  # each belongs to a module that PEFT would adapt
    return weights_left
