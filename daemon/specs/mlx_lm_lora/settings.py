"""The settings of a flat mlx-lm-lora (5.10.2) config: where each has its place in a spec, and what it defaults to there.

Only tables; `translation` translates by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefd.daemon.text.wording import Path

NAMES: Mapping[str, Path] = {
    "name": ("name",),
    "model": ("model",),
    "resume_adapter_file": ("adapter",),
    "data": ("data", "path"),
    "prompt_feature": ("data", "prompt_feature"),
    "chosen_feature": ("data", "chosen_feature"),
    "rejected_feature": ("data", "rejected_feature"),
    "system_feature": ("data", "system_feature"),
    "max_seq_length": ("data", "max_length"),
    "dpo_cpo_loss_type": ("loss", "name"),
    "beta": ("loss", "beta"),
    "delta": ("loss", "delta"),
    "reference_model_path": ("reference", "model"),
    "train_type": ("training", "fine_tune"),
    "lora_parameters": ("training", "lora"),
    "num_layers": ("training", "num_layers"),
    "optimizer": ("training", "optimizer"),
    "optimizer_config": ("training", "optimizer_config"),
    "learning_rate": ("training", "learning_rate"),
    "lr_schedule": ("training", "lr_schedule"),
    "batch_size": ("training", "batch_size"),
    "gradient_accumulation_steps": ("training", "gradient_accumulation_steps"),
    "epochs": ("training", "epochs"),
    "iters": ("training", "iters"),
    "steps_per_report": ("training", "steps_per_report"),
    "steps_per_eval": ("training", "steps_per_eval"),
    "save_every": ("training", "save_every"),
    "seed": ("training", "seed"),
    "grad_checkpoint": ("training", "grad_checkpoint"),
    "seq_step_size": ("training", "chunk_tokens"),
    "qat_enable": ("training", "qat"),
    "qat_bits": ("training", "qat", "bits"),
    "qat_group_size": ("training", "qat", "group_size"),
    "qat_start_step": ("training", "qat", "start_step"),
    "fuse": ("output", "fuse"),
}
"""Each setting that has a place in a spec, and that place."""
WEIGHT_DECAY: Path = ("training", "weight_decay")
"""In `optimizer_config` there."""
AS_WRITTEN = (
    *(
        "name",
        "model",
        "data",
        "prompt_feature",
        "chosen_feature",
        "rejected_feature",
        "system_feature",
        "max_seq_length",
        "beta",
    ),
    *("train_type", "num_layers", "learning_rate", "lr_schedule", "batch_size", "gradient_accumulation_steps"),
    *("epochs", "seed", "grad_checkpoint"),
)
COUNTED = ("iters", "steps_per_report", "steps_per_eval", "save_every")
"""In batches there, whatever is accumulated; in optimizer steps here."""
ALIASES = {
    "grad_accumulation": "gradient_accumulation_steps",
    "grad_accumulation_steps": "gradient_accumulation_steps",
}
DEFAULTS: Mapping[str, Any] = {"batch_size": 1, "max_seq_length": 2048}
DEFAULT_ITERS = 100
DEFAULT_SCALE = 10.0
DEFAULT_OPTIMIZER = "adam"
OPTIMIZER_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "adam": {"bias_correction": False},
    "adamw": {"bias_correction": False, "weight_decay": 0.01},
    "muon": {"weight_decay": 0.01},
}
"""MLX's own where ours are others: what its optimizers run with there."""
QAT_DEFAULTS: Mapping[str, int] = {"qat_bits": 8, "qat_group_size": 64, "qat_start_step": 1}
LONG_CONTEXT_CHUNK = 512
LOSSES: Mapping[str, Mapping[str, str]] = {
    "dpo": {"sigmoid": "sigmoid", "hinge": "hinge", "ipo": "ipo", "dpop": "dpop"},
    "cpo": {"sigmoid": "cpo", "hinge": "cpo_hinge", "ipo": "cpo_ipo", "dpop": "cpo_dpop"},
}
QUANTIZED = {"load_in_4bits": 4, "load_in_6bits": 6, "load_in_8bits": 8}
QUANTIZED_GROUP = 128
MARKS = {
    *("train_type", "dpo_cpo_loss_type", "lora_parameters", "reference_model_path", "max_seq_length", "adapter_path"),
    *("resume_adapter_file", "val_batches", *QUANTIZED),
}
"""Settings that only a flat config has."""

OTHER_MODE = "it belongs to another train_mode"
IGNORED: Mapping[str, str] = {
    "adapter_path": "a job's adapter is in its own folder, runs/<id>/adapter",
    "val_batches": "every held-out pair is evaluated",
    "test": "there is no test pass: the held-out pairs are evaluated as it trains",
    "test_batches": "there is no test pass: the held-out pairs are evaluated as it trains",
    "mask_prompt": "only completions are scored, always",
    "lm_studio_name": "a fused model is in its job's own folder, runs/<id>/fused",
    "wandb": "write a spec of prefd's with report_to: [wandb]; metrics are in runs/<id>/metrics.jsonl in any case",
    "config": "a spec is one file",
    "recurrence_chunk_size": "prefd has no such setting; it changes memory, not the result",
    "qat_interval": "weights are rounded anew after every step, as they are there",
    **dict.fromkeys(
        (
            *("sft_loss_type", "text_feature", "chat_feature", "completion_feature", "answer_feature", "type_feature"),
            *("preference_score_feature", "reward_scaling", "dsla_loss", "latent_weight", "latent_margin"),
            *("latent_gamma", "latent_variant", "latent_pooling", "latent_layer", "lambda_mse_target"),
            *("tau_mse_target", "lambda_mse", "clip_epsilon_logits", "judge", "judge_config", "alpha", "group_size"),
            *("epsilon", "epsilon_high", "max_completion_length", "temperature", "reward_weights", "reward_functions"),
            *("reward_functions_file", "list_reward_functions", "grpo_loss_type", "importance_sampling_level"),
            *("klpo_route", "klpo_kl_estimator", "klpo_mc_samples", "klpo_top_k", "klpo_tail_floor"),
            "micro_batch_size",
        ),
        OTHER_MODE,
    ),
}
REFUSED: Mapping[str, str] = {
    "load_in_mxfp4": "prefd quantizes to 4, 6 or 8 bits: use load_in_4bits, load_in_6bits or load_in_8bits",
    "hf_dataset": "write the dataset's id as data, or a spec of prefd's own form, which has data.path (a list, too), "
    "data.config, data.split and data.validation_split",
    "sweep": "it goes with a spec of prefd's own form, with loss, data and training as blocks",
}
"""What would change the result and cannot be done, with the remedy."""
KNOWN = (
    *(*NAMES, *ALIASES, *QUANTIZED, *IGNORED, *REFUSED),
    *("train", "train_mode", "efficient_long_context", "qat_mode"),
)
