"""Translates how a flat config trains: LoRA, quantization, the optimizer and its schedule, lengths, and what is made of the result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from prefd.daemon.specs.mlx_lm_lora.settings import (
    COUNTED,
    DEFAULT_ITERS,
    DEFAULT_OPTIMIZER,
    DEFAULT_SCALE,
    LONG_CONTEXT_CHUNK,
    NAMES,
    OPTIMIZER_DEFAULTS,
    QAT_DEFAULTS,
    QUANTIZED,
    QUANTIZED_GROUP,
    WEIGHT_DECAY,
)
from prefd.daemon.specs.mlx_lm_lora.translation import Translation
from prefd.daemon.specs.optimizer import CONFIGS
from prefd.daemon.text.wording import clip, format_value


def set_lora(translation: Translation, settings: Mapping[str, Any]) -> None:
    """Sets the LoRA layers' settings, which training in full has not; their scale has another default there."""
    lora = settings.get("lora_parameters", {})
    if settings.get("train_type") == "full":
        if lora:
            translation.notes.append("ignored: lora_parameters, because train_type is full")
        return
    if isinstance(lora, Mapping) and "scale" not in lora and "resume_adapter_file" not in settings:
        lora = {**lora, "scale": DEFAULT_SCALE}
        translation.assumed.append(f"lora_parameters.scale {DEFAULT_SCALE}")
    translation.put("lora_parameters", lora)


def set_quantization(translation: Translation, settings: Mapping[str, Any]) -> None:
    """Sets how the policy is quantized at load: there, one switch for each number of bits."""
    switches = [name for name in QUANTIZED if translation.read_switch(settings, name)]
    if len(switches) > 1:
        translation.faults.append((switches[1], f"give it or {switches[0]}, not both"))
    elif switches and settings.get("train_type") == "full":
        translation.faults.append(
            (switches[0], "needs train_type lora or dora: quantized weights cannot be trained in full")
        )
    elif switches:
        value = {"bits": QUANTIZED[switches[0]], "group_size": QUANTIZED_GROUP}
        translation.put(switches[0], value, ("training", "quantize"))


def set_optimizer(translation: Translation, settings: Mapping[str, Any]) -> None:
    """Sets the optimizer and its options. `optimizer_config` holds those of every optimizer there; the chosen one's are MLX's."""
    name = settings.get("optimizer", DEFAULT_OPTIMIZER)
    name = name.lower() if isinstance(name, str) else name
    translation.put("optimizer", name)
    if "optimizer" not in settings:
        translation.assumed.append(f"optimizer {name}")
    if not isinstance(name, str) or name not in CONFIGS:
        return  # told with the spec's other faults
    configs = settings.get("optimizer_config", {})
    config = configs.get(name) if isinstance(configs, Mapping) else configs
    if not isinstance(config, Mapping | None):
        translation.faults.append(
            ("optimizer_config", f"expected a mapping of settings for {name}, got {format_value(config)}")
        )
        return
    for key in configs:
        if key not in CONFIGS:
            translation.faults.append(
                (f"optimizer_config.{clip(key)}", f"write it as optimizer_config.{name}.{clip(key)}")
            )
    options = dict(config or {})
    for key, default in OPTIMIZER_DEFAULTS.get(name, {}).items():
        if key not in options:
            options[key] = default
            translation.assumed.append(f"optimizer_config.{name}.{key} {format_value(default)}")
    if "weight_decay" in options:
        translation.put(f"optimizer_config.{name}.weight_decay", options.pop("weight_decay"), WEIGHT_DECAY)
    translation.put(f"optimizer_config.{name}", options, NAMES["optimizer_config"])
    if name == "muon" and settings.get("train_type", "lora") != "lora":
        translation.notes.append("optimizer: muon takes the matrices of the layers; the rest goes through adamw")


def set_schedule(translation: Translation, settings: Mapping[str, Any]) -> None:
    """Leaves learning_rate out beside a schedule, which begins at its own first argument there."""
    match settings.get("lr_schedule"):
        case {"arguments": [first, *_]} if "learning_rate" in settings and settings["learning_rate"] != first:
            translation.notes.append("ignored: learning_rate, because lr_schedule begins at another")
            del translation.document["training"]["learning_rate"]


def set_qat(translation: Translation, settings: Mapping[str, Any]) -> None:
    """Sets training that is aware of its later quantization, with the defaults it has there."""
    if not translation.read_switch(settings, "qat_enable"):
        ignored = [name for name in (*QAT_DEFAULTS, "qat_mode") if name in settings]
        translation.notes.extend(f"ignored: {name}, because qat_enable is not set" for name in ignored)
        return
    if settings.get("qat_mode", "affine") != "affine":
        message = (
            f"must be affine, got {format_value(settings['qat_mode'])}: prefd rounds as mlx_lm.convert does by default"
        )
        translation.faults.append(("qat_mode", message))
    for name, default in QAT_DEFAULTS.items():
        translation.put(name, settings.get(name, default))
        if name not in settings:
            translation.assumed.append(f"{name} {default}")
    translation.notes.append(
        "qat_enable: base and adapter are rounded as one weight, as quantizing the fused model will"
    )


def set_chunk_tokens(translation: Translation, settings: Mapping[str, Any]) -> None:
    """Sets the length of the pieces of a long sequence; their gradients are truncated there, and exact here."""
    if "efficient_long_context" in settings and not translation.read_switch(settings, "efficient_long_context"):
        if "seq_step_size" in settings:
            translation.notes.append("ignored: seq_step_size, because efficient_long_context is not set")
    elif "seq_step_size" in settings:
        translation.put("seq_step_size", settings["seq_step_size"])
    elif "efficient_long_context" in settings:
        translation.put("efficient_long_context", LONG_CONTEXT_CHUNK, NAMES["seq_step_size"])


def set_fuse(translation: Translation, settings: Mapping[str, Any]) -> None:
    """Asks for a fused model only where the file does: it is a second model on the disk. What was quantized at load stays so."""
    if not translation.read_switch(settings, "fuse"):
        return
    translation.put("fuse", True)
    if not any(settings.get(name) for name in QUANTIZED):
        translation.notes.append(
            "fuse: the weights of a model that is quantized already stay so; there, they are dequantized"
        )


def set_length(translation: Translation, settings: Mapping[str, Any]) -> None:
    """Turns counts of batches, as they are there, into counts of optimizer steps."""
    counts = {name: settings[name] for name in COUNTED if name in settings}
    if "iters" in counts and "epochs" in settings:
        translation.notes.append("ignored: epochs, because iters is given too")
        del translation.document["training"]["epochs"]
    elif "iters" not in counts and "epochs" not in settings:
        counts["iters"] = DEFAULT_ITERS
        translation.assumed.append(f"iters {DEFAULT_ITERS}")
    every = settings.get("gradient_accumulation_steps", 1)
    divide = _is_count(every) and every > 1
    for name, count in counts.items():
        translation.put(name, math.ceil(count / every) if divide and _is_count(count) else count)
    if divide and counts:
        counts_in_steps = ", ".join(f"{name} {translation.document['training'][name]}" for name in counts)
        translation.notes.append(f"in optimizer steps of {every} batches each, as prefd counts: {counts_in_steps}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
