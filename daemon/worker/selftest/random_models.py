"""Makes random models of mlx-lm's architectures on the spot, in memory or as a folder, and random pairs for them.

Their heads have 64 numbers, as those of most models do, for which devices have kernels of their own. Nothing of a check
depends on what a model has learnt: rounding, kernels, memory and time are those of its shapes.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.utils import tree_flatten, tree_map_with_path
from mlx_lm.tuner.utils import linear_to_lora_layers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from prefd.daemon.worker.data.tokens import Completion, Example

ARCHITECTURES = ("llama", "qwen3", "gemma2", "qwen3_moe")
HEAD = 64
"""Numbers in an attention head."""
END = "<|end|>"


@dataclass(frozen=True)
class Size:
    """Size is that of a random model; its width is a multiple of HEAD."""

    layers: int = 4
    width: int = 256
    vocabulary: int = 512


SMALL = Size()
TINY = Size(layers=2, width=128)
"""For half precision on a CPU, which has no fast product of it."""


def make_config(architecture: str, size: Size) -> dict[str, Any]:
    """Make the config.json of a random model."""
    heads = size.width // HEAD
    config: dict[str, Any] = {
        "model_type": architecture,
        "hidden_size": size.width,
        "num_hidden_layers": size.layers,
        "intermediate_size": 2 * size.width,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 2,
        "head_dim": HEAD,
        "vocab_size": size.vocabulary,
        "max_position_embeddings": 8192,
        "rope_theta": 10000.0,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "eos_token_id": 0,
    }
    if architecture == "qwen3_moe":
        config |= {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": size.width,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "norm_topk_prob": True,
        }
    if architecture == "gemma2":
        config |= {
            "query_pre_attn_scalar": float(HEAD),
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
        }
    return config


def make_model(architecture: str, size: Size, dtype: str = "float32", seed: int = 0) -> nn.Module:
    """Make a random model that computes in `dtype`; `4-bit` has quantized weights, and computes in the device's usual type."""
    module = importlib.import_module(f"mlx_lm.models.{architecture}")
    field_names = {field.name for field in dataclasses.fields(module.ModelArgs)}
    config = {name: value for name, value in make_config(architecture, size).items() if name in field_names}
    mx.random.seed(seed)
    model: nn.Module = module.Model(module.ModelArgs(**config))
    model.update(tree_map_with_path(_draw_weight, model.parameters()))
    if dtype == "4-bit":
        nn.quantize(model, group_size=64, bits=4)
        dtype = "bfloat16" if mx.default_device() == mx.gpu else "float32"
    model.set_dtype(getattr(mx, dtype))
    model.eval()
    mx.eval(model.parameters())
    return model


def _draw_weight(name: str, value: mx.array) -> mx.array:
    """Draw a weight of a size that keeps a layer's outputs near 1, and the logits as far apart as those of a text's tokens."""
    if value.ndim < 2:
        return value + 0.1 * mx.random.normal(value.shape)
    spread = 2.0 if "embed" in name or "lm_head" in name else 1.0
    return spread * mx.random.normal(value.shape) / float(np.sqrt(value.shape[-1]))


def add_lora(model: nn.Module, rank: int = 8, spread: float = 0.0, seed: int = 0) -> None:
    """Make `model` trainable by LoRA; with a `spread`, as an adapter is that has been trained."""
    mx.random.seed(seed)
    model.freeze()
    linear_to_lora_layers(model, -1, {"rank": rank, "scale": 2.0, "dropout": 0.0})
    if spread:
        model.update(
            tree_map_with_path(
                lambda name, value: spread * mx.random.normal(value.shape) if name.endswith("lora_b") else value,
                model.trainable_parameters(),
            )
        )
    mx.eval(model.parameters())


def make_pairs(
    count: int, prompt: int = 24, answer: int = 24, vocabulary: int = SMALL.vocabulary, seed: int = 0
) -> list[Example]:
    """Make pairs of random tokens; lengths are from a half to one and a half of `prompt` and `answer`."""
    generator = np.random.default_rng(seed)

    def draw(length: int) -> np.ndarray[Any, Any]:
        size = int(generator.integers(max(2, length // 2), length + length // 2 + 1))
        return generator.integers(1, vocabulary, size).astype(np.uint32)

    pairs = []
    for row in range(1, count + 1):
        start = draw(prompt)
        chosen, rejected = (Completion(np.concatenate([start, draw(answer)]), len(start)) for _ in range(2))
        pairs.append(Example(row, chosen, rejected))
    return pairs


def list_completions(pairs: list[Example]) -> list[Completion]:
    """List both answers of every pair."""
    return [side for pair in pairs for side in (pair.chosen, pair.rejected)]


def write_model(folder: Path, size: Size = TINY, dtype: str = "float32") -> Path:
    """Write a random llama of `dtype` with a tokenizer of bytes to `folder`, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = make_config("llama", size)
    (folder / "config.json").write_text(json.dumps(config))
    weights: dict[str, mx.array] = dict(tree_flatten(make_model("llama", size, dtype).parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = {END: 0} | {character: number for number, character in enumerate(alphabet, 1)}
    tokenizer = Tokenizer(models.BPE(vocab=tokens, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def write_pairs(path: Path, count: int = 12, answers_a_prompt: int = 2) -> Path:
    """Write pairs of random words to `path`, and return it; so many answers of them have the same prompt."""
    words = ["the", "one", "of", "two", "is", "and", "that", "it", "there", "other"]
    generator = random.Random(0)

    def write_words(count: int) -> str:
        return " ".join(generator.choices(words, k=count))

    rows = []
    for _ in range(count):
        prompt, chosen = write_words(4), write_words(5)
        rows += [{"prompt": prompt, "chosen": chosen, "rejected": write_words(5)} for _ in range(answers_a_prompt - 1)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
