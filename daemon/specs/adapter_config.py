"""Reads what an adapter folder holds from its adapter_config.json alone: mlx-lm's own, or PEFT's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefd.daemon.machine.files import is_lfs_pointer
from prefd.daemon.specs.adapter_faults import CONFIG, AdapterError, is_number, is_whole
from prefd.daemon.specs.peft_config import read_peft
from prefd.daemon.text.wording import format_value

MLX_WEIGHTS = "adapters.safetensors"
PEFT_WEIGHTS = "adapter_model.safetensors"
MOST_BYTES = 16 * 2**20
"""Of a config."""


@dataclass(frozen=True)
class AdapterConfig:
    """AdapterConfig describes an adapter in mlx-lm's words."""

    folder: Path
    is_peft: bool
    fine_tune_type: str
    num_layers: int | None
    """None where the tensors' names say it."""
    lora_parameters: dict[str, Any]
    raw: dict[str, Any]
    """adapter_config.json as it is."""

    @property
    def weights(self) -> Path:
        """Returns the file that holds the adapter's tensors."""
        return self.folder / (PEFT_WEIGHTS if self.is_peft else MLX_WEIGHTS)


def read_adapter(folder: Path) -> AdapterConfig:
    """Reads the adapter at `folder`. Raises `AdapterError`, whose message goes on after the folder's name."""
    raw = _read_config(folder)
    if "peft_type" in raw:
        kind, lora_parameters = read_peft(raw)
        config = AdapterConfig(folder, True, kind, None, lora_parameters, raw)
    else:
        config = _read_mlx(folder, raw)
    if not config.weights.is_file():
        raise AdapterError(_describe_missing_weights(folder, config))
    if is_lfs_pointer(config.weights):
        raise AdapterError(f"has a git-lfs pointer in the place of {config.weights.name}: run `git lfs pull` there")
    return config


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise AdapterError(f"has no {CONFIG}: it must be a folder with an adapter of mlx-lm or PEFT")
    if is_lfs_pointer(path):
        raise AdapterError(f"has a git-lfs pointer in the place of {CONFIG}: run `git lfs pull` there")
    try:
        with path.open("rb") as file:
            raw = json.loads(file.read(MOST_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise AdapterError(f"has an {CONFIG} that cannot be read as JSON ({error}); copy it again") from error
    if not isinstance(raw, dict):
        raise AdapterError(f"has an {CONFIG} that is no JSON object; copy it again")
    return raw


def _describe_missing_weights(folder: Path, config: AdapterConfig) -> str:
    if config.is_peft and (folder / "adapter_model.bin").is_file():
        return (
            "is a PEFT adapter with its weights in adapter_model.bin, a pickle, which can run code: load it with PEFT and "
            "save it again (save_pretrained writes adapter_model.safetensors)"
        )
    if not config.is_peft and (folder / PEFT_WEIGHTS).is_file():
        return f"has {PEFT_WEIGHTS}, as PEFT writes it, but {CONFIG} has no peft_type; copy PEFT's own {CONFIG} to it"
    kind = "PEFT writes" if config.is_peft else "mlx-lm writes"
    return (
        f"has no {config.weights.name}, where {kind} an adapter's weights: it must be a folder with all of an adapter"
    )


def _read_mlx(folder: Path, raw: dict[str, Any]) -> AdapterConfig:
    kind = raw.get("fine_tune_type", "lora")
    if kind not in ("lora", "dora", "full"):
        raise AdapterError(f"has fine_tune_type {format_value(kind)} in {CONFIG}; mlx-lm's are lora, dora and full")
    if kind == "full":
        return AdapterConfig(folder, False, kind, raw.get("num_layers"), raw.get("lora_parameters") or {}, raw)
    if not (folder / MLX_WEIGHTS).is_file():  # the fault to tell first
        return AdapterConfig(folder, False, kind, None, {}, raw)
    layers = raw.get("num_layers")
    if not is_whole(layers):
        old = raw.get("lora_layers")
        problem = (
            f"lacks num_layers, and has lora_layers, as mlx-lm wrote it once: write num_layers: {old} in its place"
        )
        if not is_whole(old):
            meaning = "how many layers (the last ones) the adapter is on, a whole number; -1 is all"
            problem = (
                f"has num_layers {format_value(layers)}: write {meaning}"
                if "num_layers" in raw
                else f"lacks num_layers, {meaning}"
            )
        raise AdapterError(f"has an {CONFIG} that {problem}")
    lora = raw.get("lora_parameters")
    if not isinstance(lora, dict):
        raise AdapterError(
            f"has an {CONFIG} that lacks lora_parameters: rank, scale and dropout, as mlx-lm writes them"
        )
    if missing := [name for name in ("rank", "scale", "dropout") if not is_number(lora.get(name))]:
        message = f"has an {CONFIG} whose lora_parameters lack {' and '.join(missing)}"
        alpha, rank = lora.get("alpha"), lora.get("rank")
        if "scale" in missing and is_number(alpha):
            hint = f" = {alpha / rank:g}" if is_number(rank) and rank else ""
            message += (
                f"; they have alpha, where mlx-lm has scale: write scale{hint}, if its alpha is PEFT's (alpha / rank)"
            )
        raise AdapterError(message)
    return AdapterConfig(folder, False, kind, layers, lora, raw)
