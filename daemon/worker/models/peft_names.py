"""Lists the model families whose modules have the same names in transformers and mlx-lm, so that adapters carry over."""

from __future__ import annotations

from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models.source import ModelSource

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


def check_names(source: ModelSource, setting: str, instead: str = "") -> None:
    """Check that the modules of `source` have the same names in transformers, or raise `JobError`."""
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
