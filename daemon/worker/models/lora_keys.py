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
"""What mlx-lm's adapters go on in a layer."""


def check_keys(source: ModelSource, training: TrainingSpec) -> None:
    """Raises `JobError` where `training.lora.keys` names no module of the model at `source`. No weight is read.

    A model that is still to be downloaded is not looked at.
    """
    if training.lora.keys and source.has_weights:
        bare = replace(source, adapter=None, quantize=None)
        resolve_keys(open_base(bare)[0], bare, training)


def resolve_keys(model: nn.Module, source: ModelSource, training: TrainingSpec) -> dict[str, list[str]]:
    """`training.lora.keys` by the names that modules have inside a layer: PEFT's `q_proj` is `self_attn.q_proj` here.

    A key that names nothing would be passed over in silence. Raises `JobError` for it, and for one that may be several.
    """
    if not training.lora.keys:
        return {}
    layers = model.layers if training.num_layers == -1 else model.layers[-training.num_layers :]
    inside = {name for layer in layers for name, _ in layer.named_modules() if name}
    outside = {name for name, _ in model.named_modules() if name}
    known = inside | outside
    beside = {name for name in outside if ".layers." not in name}
    resolved = []
    for key in training.lora.keys:
        ends = sorted(name for name in inside | beside if name == key or name.endswith(f".{key}"))
        if key not in known and len(ends) != 1:
            found = {
                name for layer in layers for name, module in layer.named_modules() if isinstance(module, ADAPTABLE)
            }
            raise JobError(_no_such_key(key, ends, sorted(found), source))
        resolved.append(key if key in known else ends[0])
    return {"keys": list(dict.fromkeys(resolved))}


def _no_such_key(key: str, ends: list[str], names: list[str], source: ModelSource) -> str:
    """`ends`: the modules whose names end with `key`; `names`: all that there are."""
    if key == "all-linear":
        return (
            "training.lora.keys: all-linear is PEFT's word for what is the default here: leave training.lora.keys out"
        )
    message = f"training.lora.keys: no module {key!r} in the layers that are trained of {source.model}"
    if ends:
        return f"{message}, and {len(ends)} that end so: write {' or '.join(ends)}"
    wanted = _bare(key)  # never one of another meaning, as qkv_proj is for q_proj
    near = [name for name in names if wanted in (_bare(name), _bare(name.rpartition(".")[2]))]
    if near:
        return f"{message}; did you mean {' or '.join(map(repr, near))}?"
    return f"{message}; it has {clip(', '.join(names), 300)}"


def _bare(name: str) -> str:
    """Its letters and digits, in lower case."""
    return re.sub(r"[\W_]", "", name).lower()
