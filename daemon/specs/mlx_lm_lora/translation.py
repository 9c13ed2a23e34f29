"""Translates a flat config of mlx-lm-lora (5.10.2) into a job spec, before anything is validated.

What decides the result and is left out takes the default it has there. What has no meaning here is passed over with a
note; what would change the result and cannot be done is a fault. Faults found later are told by the name in the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from prefd.daemon.specs.adapter_config import MLX_WEIGHTS, PEFT_WEIGHTS
from prefd.daemon.specs.mlx_lm_lora.settings import (
    ALIASES,
    AS_WRITTEN,
    COUNTED,
    DEFAULT_ITERS,
    DEFAULT_OPTIMIZER,
    DEFAULT_SCALE,
    DEFAULTS,
    IGNORED,
    KNOWN,
    LONG_CONTEXT_CHUNK,
    LOSSES,
    MARKS,
    NAMES,
    OPTIMIZER_DEFAULTS,
    QAT_DEFAULTS,
    QUANTIZED,
    QUANTIZED_GROUP,
    REFUSED,
    WEIGHT_DECAY,
)
from prefd.daemon.specs.optimizer import CONFIGS
from prefd.daemon.specs.path_or_hub_id import HUB_ID, resolve_path
from prefd.daemon.text.foreign_settings import translate_setting
from prefd.daemon.text.unknown_losses import NOT_HERE
from prefd.daemon.text.wording import Path, clip, find_nearest, format_path, format_value

HEAD = re.compile(r"^(line \d+: )?([A-Za-z_][\w.\[\]]*)(?=: )")
PLACE = re.compile(r"\b(?:data|loss|reference|training|output)(?:\.\w+)+")
"""A setting of a spec, in a message."""


@dataclass
class Translation:
    """Translation is a flat config as a spec's `document`, with the notes and faults for the file's author."""

    document: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)
    """(name in the file, what is wrong with it)."""
    assumed: list[str] = field(default_factory=list)
    """`name value` of what the file leaves out and the result depends on."""
    names: dict[Path, str] = field(default_factory=lambda: {path: name for name, path in NAMES.items()})
    """Where each of the document's settings came from."""
    spellings: Mapping[str, str] = field(default_factory=dict)
    """The names in the file of settings that have several."""

    def put(self, name: str, value: Any, path: Path | None = None) -> None:
        """Sets what `name` stands for, or what is at `path`, which `name` (dotted, inside a block) decides."""
        *above, last = path or NAMES[name]
        block = self.document
        for part in above:
            block = block.setdefault(str(part), {})
        block[str(last)] = value
        self.names[path or NAMES[name]] = self.spellings.get(name, name)

    def lines(self, lines: Mapping[Path, int]) -> dict[Path, int]:
        """Returns the line of each of the document's settings, from the lines of the file's."""
        return {
            (*place, *path[len(parts) :]): line
            for place, parts in ((place, tuple(name.split("."))) for place, name in self.names.items())
            for path, line in lines.items()
            if path[: len(parts)] == parts
        }

    def renamed(self, line: str) -> str:
        """Rewrites a message about the document in the names of the file."""
        line = HEAD.sub(lambda match: (match[1] or "") + self._name(match[2]), line)
        return PLACE.sub(lambda match: self._name(match[0]), line)

    def _name(self, place: str) -> str:
        for path in sorted(self.names, key=len, reverse=True):
            if place == format_path(path) or place.startswith(f"{format_path(path)}."):
                return self.names[path] + place[len(format_path(path)) :]
        return place


def is_flat(value: Mapping[str, Any]) -> bool:
    """Returns whether a file's top level is mlx-lm-lora's: it names a train_mode, or has its settings and none of our blocks."""
    if "train_mode" in value:
        return True
    return (
        isinstance(value.get("data"), str)
        and not MARKS.isdisjoint(value)
        and value.keys().isdisjoint({"loss", "training"})
    )


def translate(value: Mapping[str, Any], folder: FilePath | None = None) -> Translation:
    """Translates the flat config `value` to a spec. `folder`: where its relative paths start; None: do not look at them."""
    settings = {ALIASES.get(name, name): each for name, each in value.items() if each is not None}
    translation = Translation(spellings={name: alias for alias, name in ALIASES.items() if alias in value})
    for alias, name in ALIASES.items():
        if alias in value and name in value:
            translation.faults.append((alias, f"is {name} by another name; give one of them"))
    for name in AS_WRITTEN:
        if name in settings:
            translation.put(name, settings[name])
    for name, default in DEFAULTS.items():
        if name not in settings:
            translation.put(name, default)
            translation.assumed.append(f"{name} {default}")
    _loss(translation, settings)
    _lora(translation, settings)
    _quantize(translation, settings)
    _optimizer(translation, settings)
    _schedule(translation, settings)
    _qat(translation, settings)
    _long_context(translation, settings)
    _fuse(translation, settings)
    _length(translation, settings)
    _adapter(translation, settings)
    _reference(translation, settings)
    _validation(translation, settings, folder)
    _others(translation, settings, value)
    return translation


def _loss(translation: Translation, settings: Mapping[str, Any]) -> None:
    """Sets the loss: `train_mode` and `dpo_cpo_loss_type` are one of our eight, and `delta` is `dpop`'s alone."""
    mode, kind = settings.get("train_mode"), settings.get("dpo_cpo_loss_type", "sigmoid")
    if mode not in ("dpo", "cpo"):
        reason = f"got {format_value(mode)}{_describe_mode(mode)}" if mode else "the default there is sft"
        translation.faults.append(("train_mode", f"must be dpo or cpo; {reason}"))
        mode = "dpo"
    if not isinstance(kind, str) or kind not in LOSSES[mode]:
        translation.faults.append(("dpo_cpo_loss_type", f"must be {', '.join(LOSSES[mode])}, got {format_value(kind)}"))
        kind = "dpop" if "delta" in settings else "sigmoid"
    translation.put("dpo_cpo_loss_type", LOSSES[mode][kind])
    if "delta" in settings and kind == "dpop":
        translation.put("delta", settings["delta"])
    elif "delta" in settings:
        translation.notes.append(f"ignored: delta, because only dpop has one, and dpo_cpo_loss_type is {kind}")


def _describe_mode(mode: Any) -> str:
    """Explains a train_mode that prefd has not."""
    description = NOT_HERE.get(mode.lower()) if isinstance(mode, str) else None
    if mode == "sft":
        return ": sft trains on single answers, and prefd on preference pairs"
    return f": {mode.upper()} {description}" if description else ""


def _lora(translation: Translation, settings: Mapping[str, Any]) -> None:
    lora = settings.get("lora_parameters", {})
    if settings.get("train_type") == "full":
        if lora:
            translation.notes.append("ignored: lora_parameters, because train_type is full")
        return
    if isinstance(lora, Mapping) and "scale" not in lora and "resume_adapter_file" not in settings:
        lora = {**lora, "scale": DEFAULT_SCALE}
        translation.assumed.append(f"lora_parameters.scale {DEFAULT_SCALE}")
    translation.put("lora_parameters", lora)


def _quantize(translation: Translation, settings: Mapping[str, Any]) -> None:
    switches = [name for name in QUANTIZED if _read_switch(translation, settings, name)]
    if len(switches) > 1:
        translation.faults.append((switches[1], f"give it or {switches[0]}, not both"))
    elif switches and settings.get("train_type") == "full":
        translation.faults.append(
            (switches[0], "needs train_type lora or dora: quantized weights cannot be trained in full")
        )
    elif switches:
        value = {"bits": QUANTIZED[switches[0]], "group_size": QUANTIZED_GROUP}
        translation.put(switches[0], value, ("training", "quantize"))


def _optimizer(translation: Translation, settings: Mapping[str, Any]) -> None:
    """`optimizer_config` has the settings of every optimizer there; those of the chosen one are MLX's, as here."""
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


def _schedule(translation: Translation, settings: Mapping[str, Any]) -> None:
    """A schedule begins at its own first argument there, whatever learning_rate says."""
    match settings.get("lr_schedule"):
        case {"arguments": [first, *_]} if "learning_rate" in settings and settings["learning_rate"] != first:
            translation.notes.append("ignored: learning_rate, because lr_schedule begins at another")
            del translation.document["training"]["learning_rate"]


def _qat(translation: Translation, settings: Mapping[str, Any]) -> None:
    if not _read_switch(translation, settings, "qat_enable"):
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


def _long_context(translation: Translation, settings: Mapping[str, Any]) -> None:
    """Sets the length of the pieces of a long sequence; their gradients are truncated there, and exact here."""
    if "efficient_long_context" in settings and not _read_switch(translation, settings, "efficient_long_context"):
        if "seq_step_size" in settings:
            translation.notes.append("ignored: seq_step_size, because efficient_long_context is not set")
    elif "seq_step_size" in settings:
        translation.put("seq_step_size", settings["seq_step_size"])
    elif "efficient_long_context" in settings:
        translation.put("efficient_long_context", LONG_CONTEXT_CHUNK, NAMES["seq_step_size"])


def _fuse(translation: Translation, settings: Mapping[str, Any]) -> None:
    """Asks for a fused model only where the file does: it is a second model on the disk. What was quantized at load stays so."""
    if not _read_switch(translation, settings, "fuse"):
        return
    translation.put("fuse", True)
    if not any(settings.get(name) for name in QUANTIZED):
        translation.notes.append(
            "fuse: the weights of a model that is quantized already stay so; there, they are dequantized"
        )


def _length(translation: Translation, settings: Mapping[str, Any]) -> None:
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


def _adapter(translation: Translation, settings: Mapping[str, Any]) -> None:
    """Adapters are folders: weights, and a config beside them that says what they are, mlx-lm's or PEFT's."""
    if "resume_adapter_file" not in settings:
        return
    file = settings["resume_adapter_file"]
    if not isinstance(file, str):
        translation.put("resume_adapter_file", file)
    elif FilePath(file).name in (MLX_WEIGHTS, PEFT_WEIGHTS):
        translation.put("resume_adapter_file", str(FilePath(file).parent))
    else:
        remedy = "copy it to a folder of its own as adapters.safetensors, with the adapter_config.json"
        translation.faults.append(
            ("resume_adapter_file", f"must be called adapters.safetensors, got {format_value(file)}: {remedy}")
        )


def _reference(translation: Translation, settings: Mapping[str, Any]) -> None:
    """There, the reference is the model in `reference_model_path` or `model`, without adapter or quantization."""
    if settings.get("train_mode") == "cpo":
        if "reference_model_path" in settings:
            translation.notes.append("ignored: reference_model_path, because CPO has no reference")
    elif "reference_model_path" in settings:
        translation.put("reference_model_path", settings["reference_model_path"])
    elif "model" in settings and ("adapter" in translation.document or "quantize" in translation.document["training"]):
        translation.put("model", settings["model"], ("reference", "model"))
        translation.notes.append(
            "reference: the plain model, without the adapter or the quantization that the policy starts with"
        )


def _validation(translation: Translation, settings: Mapping[str, Any], folder: FilePath | None) -> None:
    """`valid.jsonl` of a data folder is held out, and nothing is where there is none."""
    data = settings.get("data")
    if not isinstance(data, str) or folder is None:
        return
    try:
        local = FilePath(resolve_path(data, folder))
        is_folder, has_valid = local.is_dir(), (local / "valid.jsonl").is_file()
    except (OSError, RuntimeError, ValueError):  # told when the paths are resolved
        return
    if is_folder:
        translation.put("data", data if has_valid else 0.0, ("data", "validation"))
        if not has_valid:
            translation.notes.append("data: it has no valid.jsonl, so no pairs are held out and nothing is evaluated")
    elif HUB_ID.match(data) and not local.exists():
        translation.notes.append("data: 5 % of the train split's prompts are held out; a valid split is not looked for")


def _others(translation: Translation, settings: Mapping[str, Any], value: Mapping[str, Any]) -> None:
    """Notes the settings that are passed over, and reports those that cannot be honoured or that nobody knows."""
    if "train" in settings and not _read_switch(translation, settings, "train", default=True):
        translation.faults.append(("train", "false asks for a test pass alone; prefd trains: leave it out"))
    for name, reason in IGNORED.items():
        if settings.get(name, False) is not False:
            translation.notes.append(f"ignored: {name}, because {reason}")
    for name, reason in REFUSED.items():
        if settings.get(name, False) is not False:
            translation.faults.append((name, f"cannot be honoured: {reason}"))
    for name in value:
        if name not in KNOWN:
            match = find_nearest(name, KNOWN)
            hint = f"did you mean {match}?" if match else _explain_unknown_key(translation, name)
            translation.faults.append((clip(name), f"unknown key; {hint}"))
    if translation.assumed:
        translation.notes.append(f"not in the file, so as in mlx-lm-lora: {', '.join(translation.assumed)}")


def _explain_unknown_key(translation: Translation, name: str) -> str:
    """Explains a setting that mlx-lm-lora has not, by the names of the file where all of it has one there."""
    advice = PLACE.sub(lambda match: translation._name(match[0]), translate_setting(name) or "")
    return advice if advice and not PLACE.search(advice) else "mlx-lm-lora has no such setting"


def _read_switch(translation: Translation, settings: Mapping[str, Any], name: str, default: bool = False) -> bool:
    value = settings.get(name, default)
    if not isinstance(value, bool):
        translation.faults.append((name, f"expected true or false, got {format_value(value)}"))
        return default
    return value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
