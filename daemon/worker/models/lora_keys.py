"""Finds the modules that training.lora.keys names, and refuses a name that no module has."""

from __future__ import annotations

import re
from dataclasses import replace

from mlx import nn
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear

from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.text.wording import clip
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models.loading import open_base
from prefd.daemon.worker.models.source import ModelSource

ADAPTABLE = (nn.Linear, nn.QuantizedLinear, SwitchLinear, QuantizedSwitchLinear)
"""The classes of modules that mlx-lm's adapters go on in a layer."""


def check_keys(source: ModelSource, training: TrainingSpec) -> None:
    """Check that `training.lora.keys` name modules of the model at `source`, or raise `JobError`. No weight is read.

    A model that is still to be downloaded is not looked at.
    """
    if training.lora.keys and source.has_weights:
        bare = replace(source, adapter=None, quantize=None)
        resolve_keys(open_base(bare)[0], bare, training)


def resolve_keys(model: nn.Module, source: ModelSource, training: TrainingSpec) -> dict[str, list[str]]:
    """Resolve `training.lora.keys` to the names that modules have inside a layer: PEFT's `q_proj` is `self_attn.q_proj` here.

    A key that names nothing would be passed over in silence. Raises `JobError` for it, and for one that may be several.
    """
    if not training.lora.keys:
        return {}
    layers = model.layers if training.num_layers == -1 else model.layers[-training.num_layers :]
    names_in_layers = {name for layer in layers for name, _ in layer.named_modules() if name}
    model_names = {name for name, _ in model.named_modules() if name}
    all_names = names_in_layers | model_names
    names_outside_layers = {name for name in model_names if ".layers." not in name}
    resolved = []
    for key in training.lora.keys:
        matches = sorted(
            name for name in names_in_layers | names_outside_layers if name == key or name.endswith(f".{key}")
        )
        if key not in all_names and len(matches) != 1:
            adaptable_names = {
                name for layer in layers for name, module in layer.named_modules() if isinstance(module, ADAPTABLE)
            }
            raise JobError(_describe_missing_key(key, matches, sorted(adaptable_names), source))
        resolved.append(key if key in all_names else matches[0])
    return {"keys": list(dict.fromkeys(resolved))}


def _describe_missing_key(key: str, matches: list[str], names: list[str], source: ModelSource) -> str:
    """Describe a key that names no module. `matches`: the modules whose names end with `key`; `names`: all modules."""
    if key == "all-linear":
        return (
            "training.lora.keys: all-linear is PEFT's word for what is the default here: leave training.lora.keys out"
        )
    message = f"training.lora.keys: no module {key!r} in the layers that are trained of {source.model}"
    if matches:
        return f"{message}, and {len(matches)} that end so: write {' or '.join(matches)}"
    bare_key = _strip_punctuation(key)  # never one of another meaning, as qkv_proj is for q_proj
    similar = [
        name for name in names if bare_key in (_strip_punctuation(name), _strip_punctuation(name.rpartition(".")[2]))
    ]
    if similar:
        return f"{message}; did you mean {' or '.join(map(repr, similar))}?"
    return f"{message}; it has {clip(', '.join(names), 300)}"


def _strip_punctuation(name: str) -> str:
    """Return the letters and digits of `name`, in lower case."""
    return re.sub(r"[\W_]", "", name).lower()
