"""Translates settings as other trainers call them to what they are here: nobody's spelling mistake, so no guess is needed."""

from __future__ import annotations

from collections.abc import Mapping

OF_THE_LOSS = "it is a parameter of the loss: loss: {{name: …, {0}: …}}, in a sweep loss.{0} (`prefd losses NAME` lists a loss's own)"
ONE_LENGTH = "data.max_length bounds prompt and answer together: the end of the answer is cut, and a prompt never is"
MIXED = "several datasets are a list here: data.path: [{path: …, weight: …}]"
PLACED: Mapping[str, str] = {"data.name": "data.config", "data.weight": "data.path: [{path: …, weight: …}]"}
"""Names that are a setting of ours in another place, by all of their path → ours."""
CALLED: Mapping[str, str] = {
    **dict.fromkeys(("model_name_or_path", "base_model", "pretrained_model_name_or_path"), "model"),
    **dict.fromkeys(
        ("ref_model", "reference_model", "ref_model_name_or_path", "reference_model_path"), "reference.model"
    ),
    **dict.fromkeys(("dataset", "datasets", "dataset_name", "train_file", "train_data"), "data.path"),
    **dict.fromkeys(("subset", "dataset_config", "config_name"), "data.config"),
    **dict.fromkeys(("train_split", "dataset_train_split"), "data.split"),
    **dict.fromkeys(("test_split", "valid_split", "eval_split", "dataset_test_split"), "data.validation_split"),
    **dict.fromkeys(("test_size", "val_size", "val_set_size", "val_split", "eval_dataset"), "data.validation"),
    **dict.fromkeys(("lora_r", "lora_rank", "r"), "training.lora.rank"),
    "lora_dropout": "training.lora.dropout",
    **dict.fromkeys(("target_modules", "lora_target", "lora_target_modules"), "training.lora.keys"),
    **dict.fromkeys(("peft_config", "lora_config", "lora_parameters"), "training.lora"),
    **dict.fromkeys(("per_device_train_batch_size", "micro_batch_size", "train_batch_size"), "training.batch_size"),
    **dict.fromkeys(("num_train_epochs", "num_epochs"), "training.epochs"),
    **dict.fromkeys(("max_steps", "train_steps", "num_steps"), "training.iters"),
    **dict.fromkeys(("eval_steps", "evaluation_steps"), "training.steps_per_eval"),
    "save_steps": "training.save_every",
    "save_total_limit": "training.keep_checkpoints",
    "logging_steps": "training.steps_per_report",
    **dict.fromkeys(("warmup_steps", "warmup_ratio"), "training.lr_schedule.warmup"),
    **dict.fromkeys(("lr_scheduler_type", "lr_scheduler", "scheduler"), "training.lr_schedule"),
    "gradient_checkpointing": "training.grad_checkpoint",
    **dict.fromkeys(("optim", "optimizer_name"), "training.optimizer"),
    "loss_type": "loss.name",
    "max_seq_length": "data.max_length",
    "train_type": "training.fine_tune",
    "run_name": "name",
}
"""Their name → ours, which takes the same value or says what it takes."""
EXPLAINED: Mapping[str, str] = {
    **dict.fromkeys(("dataset_mixer", "dataset_mixture"), MIXED),
    **{
        name: OF_THE_LOSS.format(name)
        for name in ("beta", "delta", "gamma", "label_smoothing", "length_normalize", "nll_weight")
    },
    **dict.fromkeys(("alpha", "lora_alpha"), "mlx-lm has a scale in its place, alpha / rank: training.lora.scale"),
    **dict.fromkeys(("max_prompt_length", "max_completion_length", "max_target_length"), ONE_LENGTH),
    **dict.fromkeys(
        ("eval_batch_size", "per_device_eval_batch_size"),
        "held-out pairs are run in micro-batches as the others are, which changes no number",
    ),
    **dict.fromkeys(("load_in_4bit", "load_in_4bits"), "write training.quantize: {bits: 4}"),
    **dict.fromkeys(("load_in_8bit", "load_in_8bits"), "write training.quantize: {bits: 8}"),
    "output_dir": "each job has a folder of its own, runs/<id>, which `prefd show` names",
    **dict.fromkeys(
        ("bf16", "fp16", "torch_dtype", "dtype"),
        "a model computes in the type that its weights are stored in (on a CPU: float32)",
    ),
    "reference_free": "take a loss without a reference (`prefd losses` says which have none)",
    "precompute_ref_log_probs": "prefd always does",
    **dict.fromkeys(
        ("generate_during_eval", "eval_generate"), "write it at the top of the spec: eval_samples: {prompts: 4}"
    ),
    **dict.fromkeys(("push_to_hub", "hub_model_id"), "`prefd push ID` uploads what is trained, when you say so"),
    "trust_remote_code": "prefd runs no model code",
}
"""Their name → what there is in its place."""

VALUES: Mapping[str, str] = {
    "qlora": "QLoRA is lora with training.quantize: {bits: 4}",
    "qdora": "QDoRA is dora with training.quantize: {bits: 4}",
    **dict.fromkeys(("adamw_torch", "adamw_torch_fused", "adamw_hf"), "it is adamw here"),
}
"""Their values → what they are here."""


def translate_setting(key: str) -> str | None:
    """Says what another trainer's setting `key` is here, as a clause; None where no trainer has it."""
    if key in CALLED:
        return f"it is called {CALLED[key]} here"
    return EXPLAINED.get(key)
