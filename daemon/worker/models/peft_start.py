"""Puts a PEFT adapter on a model of mlx-lm's: the way back from what `outputs/peft.py` writes.

mlx-lm says which modules an adapter is on by their names inside a layer and a number of layers from the end. Where a
PEFT adapter is not so regular, `keys` holds the modules' full paths, which mlx-lm takes too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import linear_to_lora_layers

from prefd.daemon.specs.adapter_config import AdapterConfig
from prefd.daemon.specs.peft_config import INSTEAD
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models.peft_names import check_names
from prefd.daemon.worker.models.peft_targets import check_targets
from prefd.daemon.worker.models.source import ModelSource

TENSOR = re.compile(
    r"base_model\.model\.(?P<module>.+)\.(?P<kind>lora_A|lora_B|lora_magnitude_vector)(?:\.default)?(?:\.weight)?"
)
"""`default` is the adapter's name in PEFT's memory, which a state dict that was saved by hand has too."""
LEAVES = {"lora_A": "lora_a", "lora_B": "lora_b", "lora_magnitude_vector": "m"}
IN_A_LAYER = re.compile(r"(?P<layers>.*\blayers)\.(?P<index>\d+)\.(?P<key>.+)")
ADAPTABLE = (nn.Linear, nn.QuantizedLinear)


def put_peft_adapter(model: nn.Module, source: ModelSource, adapter: AdapterConfig) -> None:
    """Put `adapter`, PEFT's, on `model`, the base of `source`. Raises `JobError` where it would not mean the same there."""
    check_names(source, f"adapter {adapter.folder}")
    weights = convert_weights(adapter, _load_arrays(adapter))
    adapted_names = {name.rpartition(".")[0] for name in weights}
    modules_by_name = dict(model.named_modules())
    if unknown_names := sorted(name for name in adapted_names if not isinstance(modules_by_name.get(name), ADAPTABLE)):
        fault = "is no linear layer" if unknown_names[0] in modules_by_name else "is not there"
        raise JobError(
            f"adapter {adapter.folder} is on {unknown_names[0]}, which {fault} in {source.model} "
            f"({len(unknown_names)} of {len(adapted_names)} modules): name the model that it was trained on, or {INSTEAD}"
        )
    check_targets(adapter, adapted_names)
    odd_widths = [
        (name, modules_by_name[name].bits)
        for name in sorted(adapted_names)
        if "scales" in modules_by_name[name] and 32 % modules_by_name[name].bits
    ]
    if odd_widths and adapter.fine_tune_type == "dora":
        raise JobError(
            f"adapter {adapter.folder} is dora, and {source.model} has {odd_widths[0][1]}-bit weights ({odd_widths[0][0]}), "
            "which mlx-lm's DoRA cannot adapt; name a model of 4 or 8 bits, or the one that it was made from"
        )
    parameters = adapter.lora_parameters | {"keys": locate_in_layers(adapted_names, len(model.layers))[1]}
    num_layers = locate_in_layers(adapted_names, len(model.layers))[0]
    linear_to_lora_layers(model, num_layers, parameters, use_dora=adapter.fine_tune_type == "dora")
    _check_complete(model, adapter, weights)
    model.load_weights(list(weights.items()), strict=False)


def convert_weights(adapter: AdapterConfig, weights: Mapping[str, mx.array]) -> dict[str, mx.array]:
    """Convert PEFT's tensors to mlx-lm's, by mlx-lm's names: lora_A (r, in) is the transpose of lora_a (in, r)."""
    converted: dict[str, mx.array] = {}
    for name, value in weights.items():
        match = TENSOR.fullmatch(name)
        if match is None:
            raise JobError(
                f"adapter {adapter.folder}: {name} in {adapter.weights.name} is no part of an adapter on linear layers, so it "
                f"cannot be gone on with; {INSTEAD}"
            )
        leaf = LEAVES[match["kind"]]
        if f"{match['module']}.{leaf}" in converted:
            raise JobError(
                f"adapter {adapter.folder}: {adapter.weights.name} has {match['kind']} of {match['module']} twice, under two "
                f"names ({name}); save the adapter again"
            )
        converted[f"{match['module']}.{leaf}"] = value.flatten() if leaf == "m" else mx.contiguous(value.T)
    if not converted:
        raise JobError(f"adapter {adapter.folder}: {adapter.weights.name} is empty; save the adapter again")
    return converted


def locate_in_layers(modules: Collection[str], layers: int) -> tuple[int, list[str]]:
    """Find mlx-lm's `num_layers` and `keys` for an adapter on `modules`, full paths, of a model with so many `layers`."""
    keys: dict[int, set[str]] = {}
    for name in modules:
        if (match := IN_A_LAYER.fullmatch(name)) is None:
            return layers, sorted(modules)
        keys.setdefault(int(match["index"]), set()).add(match["key"])
    last_ones = sorted(keys) == list(range(layers - len(keys), layers))
    if not last_ones or any(layer_keys != keys[layers - 1] for layer_keys in keys.values()):
        return layers, sorted(modules)
    return len(keys), sorted(keys[layers - 1])


def _load_arrays(adapter: AdapterConfig) -> dict[str, mx.array]:
    arrays: Any = mx.load(str(adapter.weights))
    return dict(arrays)


def _check_complete(model: nn.Module, adapter: AdapterConfig, weights: Mapping[str, mx.array]) -> None:
    """Check that the file has every matrix of the adapted modules in the config's shape, or raise `JobError`."""
    leaves: Any = tree_flatten(model.parameters())
    expected = {name: value.shape for name, value in leaves if name.rpartition(".")[2] in LEAVES.values()}
    for name in sorted(expected.keys() | weights.keys()):
        if name not in weights:
            raise JobError(
                f"adapter {adapter.folder}: {adapter.weights.name} lacks the tensor for {name}; save it again"
            )
        if name not in expected or weights[name].shape != expected[name]:
            shape = expected.get(name)
            raise JobError(
                f"adapter {adapter.folder}: {name} has the shape {weights[name].shape}, and its config and the model want "
                f"{'none' if shape is None else shape}; is it an adapter of this model, and all of one rank?"
            )
