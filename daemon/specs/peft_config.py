"""Reads PEFT's adapter_config.json where mlx-lm can say the same.

PEFT's LoRA and DoRA on linear layers are mlx-lm's under other names. Whatever else a PEFT config asks for would be
another function of the same tensors, so a setting that is not known to change nothing is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from prefd.daemon.specs.adapter_faults import CONFIG, AdapterError, is_number, is_whole
from prefd.daemon.text.wording import format_value

INSTEAD = "merge it into its model (PEFT's merge_and_unload), and name that model"
READ = {"peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "init_lora_weights", "task_type"}
PLACES = {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"}
"""Settings that say where the adapter is; `models/peft_targets.py` compares them with its tensors."""
HARMLESS = {
    *("auto_mapping", "base_model_name_or_path", "revision", "peft_version", "inference_mode"),
    *("runtime_config", "ephemeral_gpu_offload", "megatron_core", "eva_config", "qalora_group_size"),
    "ensure_weight_tying",
}
"""Settings that change nothing in what the saved tensors compute."""
REFUSED: Mapping[str, str] = {
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


def read_peft(raw: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Reads PEFT's config: mlx-lm's fine_tune_type and lora_parameters for it. Raises `AdapterError`."""
    if raw["peft_type"] != "LORA":
        raise AdapterError(
            f"is a PEFT adapter of type {format_value(raw['peft_type'])}, and prefd goes on with LORA (DoRA too) alone: {INSTEAD}"
        )
    if (task := raw.get("task_type")) not in (None, "CAUSAL_LM"):
        raise AdapterError(
            f"is a PEFT adapter with task_type {format_value(task)}: it was trained for another task than to write text, which "
            "prefd trains for (CAUSAL_LM); name an adapter of a language model"
        )
    for name, value in raw.items():
        if not value or name in READ | PLACES | HARMLESS or (name, value) == ("bias", "none"):
            continue
        reason = REFUSED.get(name, "which is not known to mean the same in mlx-lm")
        raise AdapterError(f"is a PEFT adapter with {name} {format_value(value)}: {reason}; {INSTEAD}")
    if (start := raw.get("init_lora_weights")) not in PLAIN_STARTS:
        raise AdapterError(
            f"is a PEFT adapter with init_lora_weights {format_value(start)}, which may have changed its base's weights: save it "
            f"with path_initial_model_for_weight_conversion, or {INSTEAD}"
        )
    rank: Any = raw.get("r")
    alpha: Any = raw.get("lora_alpha")
    dropout: Any = raw.get("lora_dropout") or 0.0
    if not is_whole(rank) or rank < 1 or not is_number(alpha) or not is_number(dropout):
        raise AdapterError(
            f"has an {CONFIG} of PEFT with r {format_value(rank)}, lora_alpha {format_value(alpha)} and lora_dropout {format_value(dropout)}; "
            "each must be a number, r a whole one"
        )
    scale = alpha / (math.sqrt(rank) if raw.get("use_rslora") else rank)
    kind = "dora" if raw.get("use_dora") else "lora"
    return kind, {"rank": rank, "scale": scale, "dropout": float(dropout)}
