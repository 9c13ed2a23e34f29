"""Translates what a flat config trains with: its loss, the adapter it starts from, its reference and its held-out pairs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from prefd.daemon.specs.adapter_config import MLX_WEIGHTS, PEFT_WEIGHTS
from prefd.daemon.specs.mlx_lm_lora.settings import LOSSES
from prefd.daemon.specs.mlx_lm_lora.translation import Translation
from prefd.daemon.specs.path_or_hub_id import HUB_ID, resolve_path
from prefd.daemon.text.unknown_losses import NOT_HERE
from prefd.daemon.text.wording import format_value


def set_loss(translation: Translation, settings: Mapping[str, Any]) -> None:
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


def set_adapter(translation: Translation, settings: Mapping[str, Any]) -> None:
    """Sets the folder of the adapter to start from: its weights lie beside a config that says what they are."""
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


def set_reference(translation: Translation, settings: Mapping[str, Any]) -> None:
    """Sets the reference: there, it is the model in `reference_model_path` or `model`, without adapter or quantization."""
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


def set_validation(translation: Translation, settings: Mapping[str, Any], folder: FilePath | None) -> None:
    """Sets the held-out pairs: `valid.jsonl` of a data folder, and none where there is no such file."""
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
