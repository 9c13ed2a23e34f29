"""Writes the adapter in PEFT's format, for transformers: the same numbers under other names.

mlx-lm's lora_a (in, r) and lora_b (r, out) are the transposes of PEFT's lora_A and lora_B, its scale is PEFT's
lora_alpha / r, its DoRA magnitude m (out,) the same vector. Module paths are equal in the model families that
peft_names.py lists; where they are not, or the adapter is on something that PEFT adapts in another way, the job is
refused before its first step.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_lm.tuner.dora import DoRALinear
from mlx_lm.tuner.lora import LoRALinear

from prefd.daemon.specs.adapter_config import AdapterConfig
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models.peft_names import check_names
from prefd.daemon.worker.models.source import ModelSource, read_adapter
from prefd.daemon.worker.outputs.adapter import WEIGHTS
from prefd.daemon.worker.outputs.published import Published

REMEDY = "take output.peft away; output.fuse writes a whole model"


def check(source: ModelSource, model: nn.Module) -> None:
    """Check that an adapter on `model`, loaded from `source`, means the same to PEFT, or raise `JobError`."""
    check_source(source)
    adapted = [(name, module) for name, module in model.named_modules() if "lora_a" in module]
    unsupported = [name for name, module in adapted if not isinstance(module, (LoRALinear, DoRALinear))]
    if unsupported:
        raise JobError(
            f"output.peft: PEFT has no adapter that equals mlx-lm's on {unsupported[0]} and {len(unsupported) - 1} more "
            f"(embeddings and stacked experts); leave them out of training.lora.keys, or {REMEDY}"
        )


def check_source(source: ModelSource) -> None:
    """Check that PEFT could load an adapter on `source`, by its config and without its weights, or raise `JobError`."""
    check_names(source, "output.peft", f"; {REMEDY}")
    if "quantization" in source.config():
        raise JobError(
            f"output.peft: {source.model} is quantized in MLX's own format, which transformers cannot load; train from "
            f"the model it was made from (training.quantize quantizes it at load), or {REMEDY}"
        )


def write_peft(source: ModelSource, adapter: Path, folder: Path) -> None:
    """Publish the mlx-lm adapter at `adapter`, trained on `source`, as a PEFT adapter at `folder`."""
    config = read_adapter(adapter)
    weights = mx.load(str(adapter / WEIGHTS))
    assert isinstance(weights, dict)  # what safetensors give
    with Published(folder) as partial:
        mx.save_safetensors(
            str(partial / "adapter_model.safetensors"), dict(convert_weights(weights)), metadata={"format": "pt"}
        )
        peft_settings = make_peft_config(source, config, sorted({name.rpartition(".")[0] for name in weights}))
        (partial / "adapter_config.json").write_text(json.dumps(peft_settings, indent=2), encoding="utf-8")


def make_peft_config(source: ModelSource, config: AdapterConfig, modules: list[str]) -> dict[str, Any]:
    """Make PEFT's adapter_config.json. `modules` are the adapted ones, by full path, so that no other matches."""
    lora = config.lora_parameters
    alpha = lora["scale"] * lora["rank"]
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": source.model,
        "inference_mode": True,
        "r": lora["rank"],
        "lora_alpha": int(alpha) if float(alpha).is_integer() else alpha,
        "lora_dropout": lora.get("dropout", 0.0),
        "target_modules": modules,
        "use_dora": config.fine_tune_type == "dora",
        "bias": "none",
        "fan_in_fan_out": False,
    }


def convert_weights(weights: Mapping[str, mx.array]) -> Iterator[tuple[str, mx.array]]:
    """Convert mlx-lm's adapter arrays to PEFT's, by PEFT's names."""
    for name, value in sorted(weights.items()):
        module, _, leaf = name.rpartition(".")
        path = f"base_model.model.{module}"
        if leaf == "m":
            yield f"{path}.lora_magnitude_vector", value
        else:
            yield f"{path}.{ {'lora_a': 'lora_A', 'lora_b': 'lora_B'}[leaf] }.weight", mx.contiguous(value.T)
