"""A flat config of mlx-lm-lora (5.10.2) as a job spec: its names to ours, before anything is validated.

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
from prefd.daemon.text.foreign_settings import advice
from prefd.daemon.text.unknown_losses import NOT_HERE
from prefd.daemon.text.wording import Path, clip, dotted, nearest, shown

HEAD = re.compile(r"^(line \d+: )?([A-Za-z_][\w.\[\]]*)(?=: )")
PLACE = re.compile(r"\b(?:data|loss|reference|training|output)(?:\.\w+)+")
"""A setting of a spec, in a message."""


@dataclass
class Translation:
    """What a flat config is as a spec: `document`, and what is to be said of it."""

    document: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)
    """(name in the file, what is wrong with it)."""
    assumed: list[str] = field(default_factory=list)
    """`name value` of what the file leaves out and the result depends on."""
    names: dict[Path, str] = field(default_factory=lambda: {path: name for name, path in NAMES.items()})
    """Where each of the document's settings came from."""
    spelt: Mapping[str, str] = field(default_factory=dict)
    """The names in the file of settings that have several."""

    def put(self, name: str, value: Any, path: Path | None = None) -> None:
        """Set what `name` stands for, or what is at `path`, which `name` (dotted, inside a block) decides."""
        *above, last = path or NAMES[name]
        block = self.document
        for part in above:
            block = block.setdefault(str(part), {})
        block[str(last)] = value
        self.names[path or NAMES[name]] = self.spelt.get(name, name)

    def lines(self, lines: Mapping[Path, int]) -> dict[Path, int]:
        """The line of each of the document's settings, from the lines of the file's."""
        return {
            (*place, *path[len(parts) :]): at
            for place, parts in ((place, tuple(name.split("."))) for place, name in self.names.items())
            for path, at in lines.items()
            if path[: len(parts)] == parts
        }

    def renamed(self, line: str) -> str:
        """A message about the document, by the names of the file."""
        line = HEAD.sub(lambda found: (found[1] or "") + self._name(found[2]), line)
        return PLACE.sub(lambda found: self._name(found[0]), line)

    def _name(self, place: str) -> str:
        for path in sorted(self.names, key=len, reverse=True):
            if place == dotted(path) or place.startswith(f"{dotted(path)}."):
                return self.names[path] + place[len(dotted(path)) :]
        return place


def is_flat(value: Mapping[str, Any]) -> bool:
    """Whether the top of a file is mlx-lm-lora's: it names a train_mode, or has its settings and none of our blocks."""
    if "train_mode" in value:
        return True
    return (
        isinstance(value.get("data"), str)
        and not MARKS.isdisjoint(value)
        and value.keys().isdisjoint({"loss", "training"})
    )


def translate(value: Mapping[str, Any], folder: FilePath | None = None) -> Translation:
    """The flat config `value` as a spec. `folder`: where its relative paths start; None: do not look at them."""
    given = {ALIASES.get(name, name): each for name, each in value.items() if each is not None}
    made = Translation(spelt={name: alias for alias, name in ALIASES.items() if alias in value})
    for alias, name in ALIASES.items():
        if alias in value and name in value:
            made.faults.append((alias, f"is {name} by another name; give one of them"))
    for name in AS_WRITTEN:
        if name in given:
            made.put(name, given[name])
    for name, default in DEFAULTS.items():
        if name not in given:
            made.put(name, default)
            made.assumed.append(f"{name} {default}")
    _loss(made, given)
    _lora(made, given)
    _quantize(made, given)
    _optimizer(made, given)
    _schedule(made, given)
    _qat(made, given)
    _long_context(made, given)
    _fuse(made, given)
    _length(made, given)
    _adapter(made, given)
    _reference(made, given)
    _validation(made, given, folder)
    _others(made, given, value)
    return made


def _loss(made: Translation, given: Mapping[str, Any]) -> None:
    """`train_mode` and `dpo_cpo_loss_type` are one of our eight; `delta` is `dpop`'s alone."""
    mode, kind = given.get("train_mode"), given.get("dpo_cpo_loss_type", "sigmoid")
    if mode not in ("dpo", "cpo"):
        why = f"got {shown(mode)}{_of_mode(mode)}" if mode else "the default there is sft"
        made.faults.append(("train_mode", f"must be dpo or cpo; {why}"))
        mode = "dpo"
    if not isinstance(kind, str) or kind not in LOSSES[mode]:
        made.faults.append(("dpo_cpo_loss_type", f"must be {', '.join(LOSSES[mode])}, got {shown(kind)}"))
        kind = "dpop" if "delta" in given else "sigmoid"
    made.put("dpo_cpo_loss_type", LOSSES[mode][kind])
    if "delta" in given and kind == "dpop":
        made.put("delta", given["delta"])
    elif "delta" in given:
        made.notes.append(f"ignored: delta, because only dpop has one, and dpo_cpo_loss_type is {kind}")


def _of_mode(mode: Any) -> str:
    """What there is to say of a train_mode that prefd has not."""
    said = NOT_HERE.get(mode.lower()) if isinstance(mode, str) else None
    if mode == "sft":
        return ": sft trains on single answers, and prefd on preference pairs"
    return f": {mode.upper()} {said}" if said else ""


def _lora(made: Translation, given: Mapping[str, Any]) -> None:
    lora = given.get("lora_parameters", {})
    if given.get("train_type") == "full":
        if lora:
            made.notes.append("ignored: lora_parameters, because train_type is full")
        return
    if isinstance(lora, Mapping) and "scale" not in lora and "resume_adapter_file" not in given:
        lora = {**lora, "scale": DEFAULT_SCALE}
        made.assumed.append(f"lora_parameters.scale {DEFAULT_SCALE}")
    made.put("lora_parameters", lora)


def _quantize(made: Translation, given: Mapping[str, Any]) -> None:
    asked = [name for name in QUANTIZED if _switch(made, given, name)]
    if len(asked) > 1:
        made.faults.append((asked[1], f"give it or {asked[0]}, not both"))
    elif asked and given.get("train_type") == "full":
        made.faults.append((asked[0], "needs train_type lora or dora: quantized weights cannot be trained in full"))
    elif asked:
        value = {"bits": QUANTIZED[asked[0]], "group_size": QUANTIZED_GROUP}
        made.put(asked[0], value, ("training", "quantize"))


def _optimizer(made: Translation, given: Mapping[str, Any]) -> None:
    """`optimizer_config` has the settings of every optimizer there; those of the chosen one are MLX's, as here."""
    name = given.get("optimizer", DEFAULT_OPTIMIZER)
    name = name.lower() if isinstance(name, str) else name
    made.put("optimizer", name)
    if "optimizer" not in given:
        made.assumed.append(f"optimizer {name}")
    if not isinstance(name, str) or name not in CONFIGS:
        return  # told with the spec's other faults
    configs = given.get("optimizer_config", {})
    config = configs.get(name) if isinstance(configs, Mapping) else configs
    if not isinstance(config, Mapping | None):
        made.faults.append(("optimizer_config", f"expected a mapping of settings for {name}, got {shown(config)}"))
        return
    for key in configs:
        if key not in CONFIGS:
            made.faults.append((f"optimizer_config.{clip(key)}", f"write it as optimizer_config.{name}.{clip(key)}"))
    settings = dict(config or {})
    for key, default in OPTIMIZER_DEFAULTS.get(name, {}).items():
        if key not in settings:
            settings[key] = default
            made.assumed.append(f"optimizer_config.{name}.{key} {shown(default)}")
    if "weight_decay" in settings:
        made.put(f"optimizer_config.{name}.weight_decay", settings.pop("weight_decay"), WEIGHT_DECAY)
    made.put(f"optimizer_config.{name}", settings, NAMES["optimizer_config"])
    if name == "muon" and given.get("train_type", "lora") != "lora":
        made.notes.append("optimizer: muon takes the matrices of the layers; the rest goes through adamw")


def _schedule(made: Translation, given: Mapping[str, Any]) -> None:
    """A schedule begins at its own first argument there, whatever learning_rate says."""
    match given.get("lr_schedule"):
        case {"arguments": [first, *_]} if "learning_rate" in given and given["learning_rate"] != first:
            made.notes.append("ignored: learning_rate, because lr_schedule begins at another")
            del made.document["training"]["learning_rate"]


def _qat(made: Translation, given: Mapping[str, Any]) -> None:
    if not _switch(made, given, "qat_enable"):
        asked = [name for name in (*QAT_DEFAULTS, "qat_mode") if name in given]
        made.notes.extend(f"ignored: {name}, because qat_enable is not set" for name in asked)
        return
    if given.get("qat_mode", "affine") != "affine":
        said = f"must be affine, got {shown(given['qat_mode'])}: prefd rounds as mlx_lm.convert does by default"
        made.faults.append(("qat_mode", said))
    for name, default in QAT_DEFAULTS.items():
        made.put(name, given.get(name, default))
        if name not in given:
            made.assumed.append(f"{name} {default}")
    made.notes.append("qat_enable: base and adapter are rounded as one weight, as quantizing the fused model will")


def _long_context(made: Translation, given: Mapping[str, Any]) -> None:
    """Pieces of a long sequence; their gradients are truncated there, and whole here."""
    if "efficient_long_context" in given and not _switch(made, given, "efficient_long_context"):
        if "seq_step_size" in given:
            made.notes.append("ignored: seq_step_size, because efficient_long_context is not set")
    elif "seq_step_size" in given:
        made.put("seq_step_size", given["seq_step_size"])
    elif "efficient_long_context" in given:
        made.put("efficient_long_context", LONG_CONTEXT_CHUNK, NAMES["seq_step_size"])


def _fuse(made: Translation, given: Mapping[str, Any]) -> None:
    """Asked for here only where the file says so: it is a second model on the disk. What was quantized at load stays so,
    as there.
    """
    if not _switch(made, given, "fuse"):
        return
    made.put("fuse", True)
    if not any(given.get(name) for name in QUANTIZED):
        made.notes.append("fuse: the weights of a model that is quantized already stay so; there, they are dequantized")


def _length(made: Translation, given: Mapping[str, Any]) -> None:
    """Counts of batches there are counts of optimizer steps here."""
    counts = {name: given[name] for name in COUNTED if name in given}
    if "iters" in counts and "epochs" in given:
        made.notes.append("ignored: epochs, because iters is given too")
        del made.document["training"]["epochs"]
    elif "iters" not in counts and "epochs" not in given:
        counts["iters"] = DEFAULT_ITERS
        made.assumed.append(f"iters {DEFAULT_ITERS}")
    every = given.get("gradient_accumulation_steps", 1)
    divide = _is_count(every) and every > 1
    for name, count in counts.items():
        made.put(name, math.ceil(count / every) if divide and _is_count(count) else count)
    if divide and counts:
        told = ", ".join(f"{name} {made.document['training'][name]}" for name in counts)
        made.notes.append(f"in optimizer steps of {every} batches each, as prefd counts: {told}")


def _adapter(made: Translation, given: Mapping[str, Any]) -> None:
    """Adapters are folders: weights, and a config beside them that says what they are, mlx-lm's or PEFT's."""
    if "resume_adapter_file" not in given:
        return
    file = given["resume_adapter_file"]
    if not isinstance(file, str):
        made.put("resume_adapter_file", file)
    elif FilePath(file).name in (MLX_WEIGHTS, PEFT_WEIGHTS):
        made.put("resume_adapter_file", str(FilePath(file).parent))
    else:
        remedy = "copy it to a folder of its own as adapters.safetensors, with the adapter_config.json"
        made.faults.append(("resume_adapter_file", f"must be called adapters.safetensors, got {shown(file)}: {remedy}"))


def _reference(made: Translation, given: Mapping[str, Any]) -> None:
    """There, the reference is the model in `reference_model_path` or `model`, without adapter or quantization."""
    if given.get("train_mode") == "cpo":
        if "reference_model_path" in given:
            made.notes.append("ignored: reference_model_path, because CPO has no reference")
    elif "reference_model_path" in given:
        made.put("reference_model_path", given["reference_model_path"])
    elif "model" in given and ("adapter" in made.document or "quantize" in made.document["training"]):
        made.put("model", given["model"], ("reference", "model"))
        made.notes.append(
            "reference: the plain model, without the adapter or the quantization that the policy starts with"
        )


def _validation(made: Translation, given: Mapping[str, Any], folder: FilePath | None) -> None:
    """`valid.jsonl` of a data folder is held out, and nothing is where there is none."""
    data = given.get("data")
    if not isinstance(data, str) or folder is None:
        return
    try:
        local = FilePath(resolve_path(data, folder))
        is_folder, has_valid = local.is_dir(), (local / "valid.jsonl").is_file()
    except (OSError, RuntimeError, ValueError):  # told when the paths are resolved
        return
    if is_folder:
        made.put("data", data if has_valid else 0.0, ("data", "validation"))
        if not has_valid:
            made.notes.append("data: it has no valid.jsonl, so no pairs are held out and nothing is evaluated")
    elif HUB_ID.match(data) and not local.exists():
        made.notes.append("data: 5 % of the train split's prompts are held out; a valid split is not looked for")


def _others(made: Translation, given: Mapping[str, Any], value: Mapping[str, Any]) -> None:
    """What is passed over, what cannot be done, and what nobody knows."""
    if "train" in given and not _switch(made, given, "train", default=True):
        made.faults.append(("train", "false asks for a test pass alone; prefd trains: leave it out"))
    for name, why in IGNORED.items():
        if given.get(name, False) is not False:
            made.notes.append(f"ignored: {name}, because {why}")
    for name, why in REFUSED.items():
        if given.get(name, False) is not False:
            made.faults.append((name, f"cannot be honoured: {why}"))
    for name in value:
        if name not in KNOWN:
            near = nearest(name, KNOWN)
            what = f"did you mean {near}?" if near else _of_another_trainer(made, name)
            made.faults.append((clip(name), f"unknown key; {what}"))
    if made.assumed:
        made.notes.append(f"not in the file, so as in mlx-lm-lora: {', '.join(made.assumed)}")


def _of_another_trainer(made: Translation, name: str) -> str:
    """What a setting is that mlx-lm-lora has not, by the names of the file where all of it has one there."""
    said = PLACE.sub(lambda found: made._name(found[0]), advice(name) or "")
    return said if said and not PLACE.search(said) else "mlx-lm-lora has no such setting"


def _switch(made: Translation, given: Mapping[str, Any], name: str, default: bool = False) -> bool:
    value = given.get(name, default)
    if not isinstance(value, bool):
        made.faults.append((name, f"expected true or false, got {shown(value)}"))
        return default
    return value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
