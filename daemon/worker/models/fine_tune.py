"""Makes a policy trainable: freezes what is not trained, and puts adapter layers on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.tuner.dora import DoRAEmbedding, DoRALinear
from mlx_lm.tuner.utils import linear_to_lora_layers

from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models import peft_start
from prefd.daemon.worker.models.loading import ADAPTER_LEAVES, compute_dtype
from prefd.daemon.worker.models.lora_keys import resolve_keys
from prefd.daemon.worker.models.narrow_adapters import narrow_adapters
from prefd.daemon.worker.models.source import ModelSource, read_adapter


@dataclass(frozen=True)
class FineTune:
    """FineTune says what of a model is trained, in the words of mlx-lm's adapter_config.json."""

    fine_tune_type: str
    num_layers: int
    lora_parameters: dict[str, Any]

    def adapter_config(self, source: ModelSource) -> dict[str, Any]:
        """Return the adapter_config.json of an adapter on `source`."""
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
    fine_tune = FineTune(training.fine_tune, num_layers, training.lora.model_dump(exclude_none=True))
    if training.fine_tune == "full":
        for layer in model.layers[layers - fine_tune.num_layers :]:
            layer.unfreeze()
        if fine_tune.num_layers == layers:
            model.unfreeze()
    elif source.adapter is not None:
        fine_tune = _describe_adapter(model, source, training)
        model.unfreeze(keys=list(ADAPTER_LEAVES), strict=False)
    else:
        lora = training.lora.model_dump(exclude_none=True) | resolve_keys(model, source, training)
        fine_tune = FineTune(fine_tune.fine_tune_type, fine_tune.num_layers, lora)
        try:
            linear_to_lora_layers(model, training.num_layers, lora, use_dora=training.fine_tune == "dora")
        except ValueError as error:  # mlx-lm: "QuantizedSwitchLinear doesn't support DoRA yet."
            raise JobError(
                f"{source.model} cannot be trained with {training.fine_tune}: {error} "
                "Name layers that it supports in training.lora.keys, or use training.fine_tune lora"
            ) from error
        _check_adapted(model, source)
        if compute_dtype(source) != "float32":
            narrow_adapters(model)
    if not tree_flatten(model.trainable_parameters()):
        raise JobError(f"nothing to train: no layer of {source.model} has a module that {training.fine_tune} can adapt")
    model.train()
    return fine_tune


def _check_adapted(model: nn.Module, source: ModelSource) -> None:
    """Check that mlx-lm can compute the DoRA of `model`, or raise `JobError`.

    It takes 32 // bits for the weights in a word, and a quantized embedding for a plain one.
    """
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


def _describe_adapter(model: nn.Module, source: ModelSource, training: TrainingSpec) -> FineTune:
    """Describe the adapter that `model` starts with. Raises `JobError` where the spec asks for something else."""
    assert source.adapter is not None
    config = read_adapter(source.adapter)
    fine_tune = FineTune(config.fine_tune_type, config.num_layers or len(model.layers), config.lora_parameters)
    if config.is_peft:
        modules = [name for name, module in model.named_modules() if "lora_a" in module]
        num_layers, keys = peft_start.locate_in_layers(modules, len(model.layers))
        fine_tune = FineTune(config.fine_tune_type, num_layers, config.lora_parameters | {"keys": keys})
    if fine_tune.fine_tune_type != training.fine_tune:
        raise JobError(
            f"adapter {source.adapter} is {fine_tune.fine_tune_type} and training.fine_tune is {training.fine_tune}; "
            "a job that starts from an adapter goes on with its kind"
        )
    if "num_layers" in training.model_fields_set and training.num_layers not in (-1, fine_tune.num_layers):
        raise JobError(
            f"training.num_layers is {training.num_layers} and adapter {source.adapter} has {fine_tune.num_layers}; "
            "leave it out to go on with the adapter's own"
        )
    requested = training.lora.model_dump(exclude_unset=True) | resolve_keys(model, source, training)
    for name, value in requested.items():
        if not _is_same(value, fine_tune.lora_parameters.get(name)):
            raise JobError(
                f"training.lora.{name} is {value!r} and adapter {source.adapter} has "
                f"{fine_tune.lora_parameters.get(name)!r}; leave it out to go on with the adapter's own"
            )
    if training.qat is not None and fine_tune.lora_parameters.get("dropout"):
        raise JobError(
            f"training.qat rounds base and adapter as one weight, of which no part can be dropped, and adapter "
            f"{source.adapter} has a dropout of {fine_tune.lora_parameters['dropout']}; set it to 0 in its adapter_config.json"
        )
    return fine_tune


def _is_same(requested: Any, own: Any) -> bool:
    """Say whether two settings mean the same; the order of modules means nothing."""
    return sorted(requested) == sorted(own or ()) if isinstance(requested, list) else bool(requested == own)
