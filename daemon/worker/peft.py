"""The adapter as PEFT has it, for transformers: the same numbers under other names.

mlx-lm's lora_a (in, r) and lora_b (r, out) are the transposes of PEFT's lora_A and lora_B, its scale is PEFT's
lora_alpha / r, its DoRA magnitude m (out,) the same vector. Module paths are equal in the model families listed here,
each checked against transformers; where they are not, or the adapter is on something that PEFT adapts in another way,
the job is refused before its first step.
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

from prefd.daemon.adapters import AdapterConfig
from prefd.daemon.worker.adapter_file import WEIGHTS
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.published import Published
from prefd.daemon.worker.sources import ModelSource, read_adapter

SAME_NAMES = frozenset(
    [
        "cohere",
        "cohere2",
        "ernie4_5",
        "gemma2",
        "gemma3_text",
        "glm4",
        "granite",
        "helium",
        "hunyuan_v1_dense",
        "llama",
        "ministral3",
        "mistral",
        "nemotron",
        "olmo2",
        "phi",
        "phi3",
        "qwen2",
        "qwen3",
        "seed_oss",
        "smollm3",
        "stablelm",
    ]
)
"""Model types whose modules have the same paths and meaning in mlx-lm and transformers: logits compared, with LoRA and
DoRA on every linear layer, and equal to 1e-5."""
INSTEAD = "take output.peft away; output.fuse writes a whole model"


def check(source: ModelSource, model: nn.Module) -> None:
    """Raises `JobError` when an adapter on `model`, which came from `source`, would not mean the same to PEFT."""
    check_source(source)
    adapted = [(name, module) for name, module in model.named_modules() if "lora_a" in module]
    others = [name for name, module in adapted if not isinstance(module, (LoRALinear, DoRALinear))]
    if others:
        raise JobError(
            f"output.peft: PEFT has no adapter that equals mlx-lm's on {others[0]} and {len(others) - 1} more "
            f"(embeddings and stacked experts); leave them out of training.lora.keys, or {INSTEAD}"
        )


def check_source(source: ModelSource) -> None:
    """Raises `JobError` where no adapter on `source` could be PEFT's, as its config says without any weights."""
    check_names(source, "output.peft", f"; {INSTEAD}")
    if "quantization" in source.config():
        raise JobError(
            f"output.peft: {source.model} is quantized in MLX's own format, which transformers cannot load; train from "
            f"the model it was made from (training.quantize quantizes it at load), or {INSTEAD}"
        )


def check_names(source: ModelSource, setting: str, instead: str = "") -> None:
    """Raises `JobError` unless a module of `source` is the one that transformers calls by the same name."""
    config = source.config()
    if (family := config.get("model_type")) not in SAME_NAMES:
        raise JobError(
            f"{setting}: it is not known how transformers names the modules of model type {family!r} "
            f"({source.model}); known: {', '.join(sorted(SAME_NAMES))}{instead}"
        )
    if config.get("rope_traditional"):
        raise JobError(
            f"{setting}: {source.model} has rope_traditional, an order of the query and key rows that transformers "
            f"does not have{instead}"
        )


def write_peft(source: ModelSource, adapter: Path, folder: Path) -> None:
    """Publish the mlx-lm adapter at `adapter`, trained on `source`, as a PEFT adapter at `folder`."""
    config = read_adapter(adapter)
    weights = mx.load(str(adapter / WEIGHTS))
    assert isinstance(weights, dict)  # what safetensors give
    with Published(folder) as made:
        mx.save_safetensors(
            str(made / "adapter_model.safetensors"), dict(peft_weights(weights)), metadata={"format": "pt"}
        )
        described = peft_config(source, config, sorted({name.rpartition(".")[0] for name in weights}))
        (made / "adapter_config.json").write_text(json.dumps(described, indent=2), encoding="utf-8")


def peft_config(source: ModelSource, config: AdapterConfig, modules: list[str]) -> dict[str, Any]:
    """PEFT's adapter_config.json. `modules` are the adapted ones, by full path, so that no other matches."""
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


def peft_weights(weights: Mapping[str, mx.array]) -> Iterator[tuple[str, mx.array]]:
    """mlx-lm's adapter leaves as PEFT's."""
    for name, value in sorted(weights.items()):
        module, _, leaf = name.rpartition(".")
        path = f"base_model.model.{module}"
        if leaf == "m":
            yield f"{path}.lora_magnitude_vector", value
        else:
            yield f"{path}.{ {'lora_a': 'lora_A', 'lora_b': 'lora_B'}[leaf] }.weight", mx.contiguous(value.T)
