"""What an adapter folder is, told from its adapter_config.json alone: mlx-lm's own, or PEFT's where mlx-lm can say the same.

PEFT's LoRA and DoRA on linear layers are mlx-lm's under other names. Whatever else a PEFT config asks for would be
another function of the same tensors, so a setting that is not known to change nothing is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefd.daemon.machine.files import is_lfs_pointer
from prefd.daemon.text.wording import shown

CONFIG = "adapter_config.json"
MLX_WEIGHTS = "adapters.safetensors"
PEFT_WEIGHTS = "adapter_model.safetensors"
MOST_BYTES = 16 * 2**20
"""Of a config."""
INSTEAD = "merge it into its model (PEFT's merge_and_unload), and name that model"

PEFT_READ = {"peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "init_lora_weights"}
PEFT_HARMLESS = {
    *("auto_mapping", "base_model_name_or_path", "revision", "peft_version", "task_type", "inference_mode"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),  # the tensors say which they are
    *("runtime_config", "ephemeral_gpu_offload", "megatron_core", "eva_config", "qalora_group_size"),
    "ensure_weight_tying",
}
"""Settings that change nothing in what the saved tensors compute."""
PEFT_REFUSED: Mapping[str, str] = {
    "bias": "biases were trained with it",
    "lora_bias": "its matrices have biases",
    "modules_to_save": "whole modules were trained with it",
    "rank_pattern": "its modules are of several ranks, and mlx-lm's adapters have one",
    "alpha_pattern": "its modules are of several scales, and mlx-lm's adapters have one",
    "fan_in_fan_out": "its matrices lie the other way round",
    "layer_replication": "its model has layers that its base has not",
    "trainable_token_indices": "embeddings of single tokens were trained with it",
    "target_parameters": "it is on parameters that are no linear layers",
    "alora_invocation_tokens": "it is at work behind certain tokens only",
    "loftq_config": "it goes with a base whose weights LoftQ has changed",
    "corda_config": "it goes with a base whose weights CorDA has changed",
    "use_qalora": "its inputs are pooled",
}
PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
"""Of `init_lora_weights`: those that leave the base's weights as they are."""


class AdapterError(ValueError):
    """A folder that is no adapter that can be loaded. For whoever named it: what it lacks, and the remedy."""


@dataclass(frozen=True)
class AdapterConfig:
    """An adapter in mlx-lm's words."""

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
        return self.folder / (PEFT_WEIGHTS if self.is_peft else MLX_WEIGHTS)


def read_adapter(folder: Path) -> AdapterConfig:
    """The adapter at `folder`. Raises `AdapterError`, whose message goes on after the folder's name."""
    raw = _read_config(folder)
    made = _peft(folder, raw) if "peft_type" in raw else _mlx(folder, raw)
    if not made.weights.is_file():
        raise AdapterError(_no_weights(folder, made))
    if is_lfs_pointer(made.weights):
        raise AdapterError(f"has a git-lfs pointer in the place of {made.weights.name}: run `git lfs pull` there")
    return made


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


def _no_weights(folder: Path, made: AdapterConfig) -> str:
    if made.is_peft and (folder / "adapter_model.bin").is_file():
        return (
            "is a PEFT adapter with its weights in adapter_model.bin, a pickle, which can run code: load it with PEFT and "
            "save it again (save_pretrained writes adapter_model.safetensors)"
        )
    if not made.is_peft and (folder / PEFT_WEIGHTS).is_file():
        return f"has {PEFT_WEIGHTS}, as PEFT writes it, but {CONFIG} has no peft_type; copy PEFT's own {CONFIG} to it"
    kind = "PEFT writes" if made.is_peft else "mlx-lm writes"
    return f"has no {made.weights.name}, where {kind} an adapter's weights: it must be a folder with all of an adapter"


def _mlx(folder: Path, raw: dict[str, Any]) -> AdapterConfig:
    kind = raw.get("fine_tune_type", "lora")
    if kind not in ("lora", "dora", "full"):
        raise AdapterError(f"has fine_tune_type {shown(kind)} in {CONFIG}; mlx-lm's are lora, dora and full")
    if kind == "full":
        return AdapterConfig(folder, False, kind, raw.get("num_layers"), raw.get("lora_parameters") or {}, raw)
    if not (folder / MLX_WEIGHTS).is_file():  # the fault to tell first
        return AdapterConfig(folder, False, kind, None, {}, raw)
    layers = raw.get("num_layers")
    if not _is_whole(layers):
        old = raw.get("lora_layers")
        found = f"lacks num_layers, and has lora_layers, as mlx-lm wrote it once: write num_layers: {old} in its place"
        if not _is_whole(old):
            meant = "how many layers (the last ones) the adapter is on, a whole number; -1 is all"
            found = (
                f"has num_layers {shown(layers)}: write {meant}"
                if "num_layers" in raw
                else f"lacks num_layers, {meant}"
            )
        raise AdapterError(f"has an {CONFIG} that {found}")
    lora = raw.get("lora_parameters")
    if not isinstance(lora, dict):
        raise AdapterError(
            f"has an {CONFIG} that lacks lora_parameters: rank, scale and dropout, as mlx-lm writes them"
        )
    if missing := [name for name in ("rank", "scale", "dropout") if not _is_number(lora.get(name))]:
        said = f"has an {CONFIG} whose lora_parameters lack {' and '.join(missing)}"
        alpha, rank = lora.get("alpha"), lora.get("rank")
        if "scale" in missing and _is_number(alpha):
            told = f" = {alpha / rank:g}" if _is_number(rank) and rank else ""
            said += (
                f"; they have alpha, where mlx-lm has scale: write scale{told}, if its alpha is PEFT's (alpha / rank)"
            )
        raise AdapterError(said)
    return AdapterConfig(folder, False, kind, layers, lora, raw)


def _peft(folder: Path, raw: dict[str, Any]) -> AdapterConfig:
    if raw["peft_type"] != "LORA":
        raise AdapterError(
            f"is a PEFT adapter of type {shown(raw['peft_type'])}, and prefd goes on with LORA (DoRA too) alone: {INSTEAD}"
        )
    for name, value in raw.items():
        if not value or name in PEFT_READ or name in PEFT_HARMLESS or (name, value) == ("bias", "none"):
            continue
        why = PEFT_REFUSED.get(name, "which is not known to mean the same in mlx-lm")
        raise AdapterError(f"is a PEFT adapter with {name} {shown(value)}: {why}; {INSTEAD}")
    if (start := raw.get("init_lora_weights")) not in PLAIN_STARTS:
        raise AdapterError(
            f"is a PEFT adapter with init_lora_weights {shown(start)}, which may have changed its base's weights: save it "
            f"with path_initial_model_for_weight_conversion, or {INSTEAD}"
        )
    rank: Any = raw.get("r")
    alpha: Any = raw.get("lora_alpha")
    dropout: Any = raw.get("lora_dropout") or 0.0
    if not _is_whole(rank) or rank < 1 or not _is_number(alpha) or not _is_number(dropout):
        raise AdapterError(
            f"has an {CONFIG} of PEFT with r {shown(rank)}, lora_alpha {shown(alpha)} and lora_dropout {shown(dropout)}; "
            "each must be a number, r a whole one"
        )
    scale = alpha / (math.sqrt(rank) if raw.get("use_rslora") else rank)
    kind = "dora" if raw.get("use_dora") else "lora"
    return AdapterConfig(folder, True, kind, None, {"rank": rank, "scale": scale, "dropout": float(dropout)}, raw)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
