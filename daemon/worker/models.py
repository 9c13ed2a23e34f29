"""Loading a model, a tokenizer, and putting trainable layers on a policy. Safetensors only; no model code is run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear
from mlx_lm.tuner.dora import DoRAEmbedding, DoRALinear
from mlx_lm.tuner.utils import linear_to_lora_layers, load_adapters
from mlx_lm.utils import (
    can_run_metal,
    load_config,
    load_model,
    load_tokenizer,
    maybe_set_recommended_wired_limit,
    quantize_model,
)

from prefd.daemon.text import clip
from prefd.daemon.training_spec import TrainingSpec
from prefd.daemon.worker import memory, peft_start
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.sources import ModelSource, loading_failed, read_adapter, stored_dtype
from prefd.daemon.worker.tables import bound_positions

ADAPTER_LEAVES = ("lora_a", "lora_b", "m")
ADAPTABLE = (nn.Linear, nn.QuantizedLinear, SwitchLinear, QuantizedSwitchLinear)
"""What mlx-lm's adapters go on in a layer."""
DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


def device() -> str:
    """ "cpu" or "gpu": what MLX computes on in this process."""
    return str(mx.default_device().type).rpartition(".")[2]


def compute_dtype(source: ModelSource) -> str:
    """What a forward pass of `source` computes in here: float32 on a CPU (half precision is 40 times slower there),
    the stored type elsewhere.
    """
    return "float32" if device() == "cpu" else DTYPES[stored_dtype(source)]


def load(source: ModelSource) -> nn.Module:
    """The model at `source`, in evaluation mode, its weights in memory. Raises `JobError` when it cannot be loaded."""
    model = unread(source)
    memory.check_weights(model, source.model)
    mx.eval(model.parameters())
    return model


def unread(source: ModelSource) -> nn.Module:
    """As `load`, with the weights still on disk: each is read when it is first used.

    An adapter's own leaves are float32 whatever the model computes in, as those of a new adapter are: in half precision
    most steps of training would round to nothing.
    """
    model, _ = open_base(source)
    bound_positions(model)
    put_adapter(model, source)
    if can_run_metal():
        maybe_set_recommended_wired_limit()  # as mlx-lm does: keeps the weights resident on a Mac
    adapters = [
        (module, {name: module[name].astype(mx.float32) for name in ADAPTER_LEAVES if name in module})
        for module in model.modules()
        if "lora_a" in module
    ]
    model.set_dtype(getattr(mx, compute_dtype(source)))
    for module, leaves in adapters:
        module.update(leaves)
    model.eval()
    return model


def open_base(source: ModelSource) -> tuple[nn.Module, dict[str, Any]]:
    """The model without its adapter, weights not read yet and of their stored types, and its config.

    Raises `JobError` when it cannot be loaded.
    """
    with _explained(source, source.model):
        model, config = load_model(source.folder, lazy=True)
        if source.quantize is None:
            return model, config
        if "quantization" in config:
            raise JobError(f"model {source.model} is already quantized; remove training.quantize")
        return quantize_model(model, config, source.quantize.group_size, source.quantize.bits)


def put_adapter(model: nn.Module, source: ModelSource) -> None:
    """Load the adapter of `source`, if it has one, onto `model`. Raises `JobError` when it does not fit."""
    if source.adapter is None:
        return
    with _explained(source, f"{source.model} with adapter {source.adapter}"):
        adapter = read_adapter(source.adapter)
        if adapter.is_peft:
            peft_start.put(model, source, adapter)
        else:
            load_adapters(model, str(source.adapter))


@contextmanager
def _explained(source: ModelSource, where: str) -> Iterator[None]:
    try:
        yield
    except JobError:
        raise
    except Exception as error:  # whatever a model's code does with files that it was not written for
        raise JobError(f"model {where} cannot be loaded: {loading_failed(source, error)}") from error


def tokenizer(source: ModelSource) -> Any:
    """mlx-lm's TokenizerWrapper for `source`, as `mlx_lm.load` makes it: with the EOS ids of config.json or, before them,
    generation_config.json.
    """
    try:
        folder = source.config_folder
        return load_tokenizer(folder, eos_token_ids=load_config(folder).get("eos_token_id"))
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise JobError(f"model {source.model}: its tokenizer cannot be loaded: {str(error).strip()[:500]}") from error


def check_same_vocabulary(policy: ModelSource, policy_tokenizer: Any, reference: ModelSource) -> None:
    """The reference scores the policy's token ids, so both must mean the same text. Raises `JobError` otherwise."""
    mine, theirs = policy_tokenizer.get_vocab(), tokenizer(reference).get_vocab()
    if mine == theirs:
        return
    unlike = sorted(token for token in mine.keys() | theirs.keys() if mine.get(token) != theirs.get(token))
    raise JobError(
        f"reference {reference.model} has another tokenizer than {policy.model}: {len(unlike)} tokens differ "
        f"(such as {unlike[0]!r}), so its log-probabilities would be of other text; use a reference of the same family"
    )


@dataclass(frozen=True)
class FineTune:
    """What was made trainable, in the words of mlx-lm's adapter_config.json."""

    fine_tune_type: str
    num_layers: int
    lora_parameters: dict[str, Any]

    def adapter_config(self, source: ModelSource) -> dict[str, Any]:
        """What adapter_config.json says of an adapter on `source`."""
        return vars(self) | {"model": source.model}


def make_trainable(model: nn.Module, source: ModelSource, training: TrainingSpec) -> FineTune:
    """Freeze `model` but for what `training` trains, and put it in training mode.

    A policy that starts from an adapter goes on with that adapter's own layers. Raises `JobError` for a combination
    that cannot be trained.
    """
    model.freeze()
    layers = len(model.layers)
    if training.num_layers > layers:
        raise JobError(f"training.num_layers is {training.num_layers}; {source.model} has {layers} layers")
    quantized = [name for name, module in model.named_modules() if "scales" in module]
    if quantized and training.fine_tune == "full":
        raise JobError(
            f"{source.model} is quantized ({quantized[0]} and {len(quantized) - 1} more), and quantized weights cannot be "
            "trained in full; use training.fine_tune lora or dora, or the model it was made from"
        )
    num_layers = layers if training.num_layers == -1 else training.num_layers
    made = FineTune(training.fine_tune, num_layers, training.lora.model_dump(exclude_none=True))
    if training.fine_tune == "full":
        for layer in model.layers[layers - made.num_layers :]:
            layer.unfreeze()
        if made.num_layers == layers:
            model.unfreeze()
    elif source.adapter is not None:
        made = _adapters_own(model, source, training)
        model.unfreeze(keys=list(ADAPTER_LEAVES), strict=False)
    else:
        lora = training.lora.model_dump(exclude_none=True) | _resolved_keys(model, source, training)
        made = FineTune(made.fine_tune_type, made.num_layers, lora)
        try:
            linear_to_lora_layers(model, training.num_layers, lora, use_dora=training.fine_tune == "dora")
        except ValueError as error:  # mlx-lm: "QuantizedSwitchLinear doesn't support DoRA yet."
            raise JobError(
                f"{source.model} cannot be trained with {training.fine_tune}: {error} "
                "Name layers that it supports in training.lora.keys, or use training.fine_tune lora"
            ) from error
        _check_adapted(model, source)
    if not tree_flatten(model.trainable_parameters()):
        raise JobError(f"nothing to train: no layer of {source.model} has a module that {training.fine_tune} can adapt")
    model.train()
    return made


def check_keys(source: ModelSource, training: TrainingSpec) -> None:
    """Raises `JobError` where `training.lora.keys` names no module of the model at `source`. No weight is read.

    A model that is still to be downloaded is not looked at.
    """
    if training.lora.keys and source.has_weights:
        bare = replace(source, adapter=None, quantize=None)
        _resolved_keys(open_base(bare)[0], bare, training)


def _resolved_keys(model: nn.Module, source: ModelSource, training: TrainingSpec) -> dict[str, list[str]]:
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


def _check_adapted(model: nn.Module, source: ModelSource) -> None:
    """mlx-lm's DoRA takes 32 // bits for the weights in a word, and a quantized embedding for a plain one."""
    for name, module in model.named_modules():
        if isinstance(module, DoRALinear) and "scales" in module.linear and 32 % module.linear.bits:
            raise JobError(
                f"{source.model} has {module.linear.bits}-bit weights ({name}), which mlx-lm's DoRA cannot adapt; "
                "use training.fine_tune lora, or a model of 4 or 8 bits"
            )
        if isinstance(module, DoRAEmbedding) and "scales" in module.embedding:
            raise JobError(
                f"{source.model} has a quantized embedding ({name}), which mlx-lm's DoRA cannot adapt; take it out of "
                "training.lora.keys, or use training.fine_tune lora"
            )


def _adapters_own(model: nn.Module, source: ModelSource, training: TrainingSpec) -> FineTune:
    """What the adapter that `model` starts with is. Raises `JobError` where the spec asks for something else."""
    assert source.adapter is not None
    config = read_adapter(source.adapter)
    made = FineTune(config.fine_tune_type, config.num_layers or len(model.layers), config.lora_parameters)
    if config.is_peft:
        modules = [name for name, module in model.named_modules() if "lora_a" in module]
        num_layers, keys = peft_start.place(modules, len(model.layers))
        made = FineTune(config.fine_tune_type, num_layers, config.lora_parameters | {"keys": keys})
    if made.fine_tune_type != training.fine_tune:
        raise JobError(
            f"adapter {source.adapter} is {made.fine_tune_type} and training.fine_tune is {training.fine_tune}; "
            "a job that starts from an adapter goes on with its kind"
        )
    if "num_layers" in training.model_fields_set and training.num_layers not in (-1, made.num_layers):
        raise JobError(
            f"training.num_layers is {training.num_layers} and adapter {source.adapter} has {made.num_layers}; "
            "leave it out to go on with the adapter's own"
        )
    asked = training.lora.model_dump(exclude_unset=True) | _resolved_keys(model, source, training)
    for name, value in asked.items():
        if not _same(value, made.lora_parameters.get(name)):
            raise JobError(
                f"training.lora.{name} is {value!r} and adapter {source.adapter} has "
                f"{made.lora_parameters.get(name)!r}; leave it out to go on with the adapter's own"
            )
    if training.qat is not None and made.lora_parameters.get("dropout"):
        raise JobError(
            f"training.qat rounds base and adapter as one weight, of which no part can be dropped, and adapter "
            f"{source.adapter} has a dropout of {made.lora_parameters['dropout']}; set it to 0 in its adapter_config.json"
        )
    return made


def _same(asked: Any, own: Any) -> bool:
    """The order of modules means nothing."""
    return sorted(asked) == sorted(own or ()) if isinstance(asked, list) else bool(asked == own)
