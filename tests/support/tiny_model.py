"""Models made on the spot for tests: small, random, and real enough for mlx-lm to load."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model, quantize_model, save_config, save_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' "
    "+ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def build_tokenizer(folder: Path, chat_template: str | None = CHATML, vocab_size: int = 300, **config: Any) -> None:
    """A byte-level BPE tokenizer trained on a few sentences, as a Hugging Face folder."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the answer is that there are two of them in the other one"] * 4, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    if chat_template is not None:
        settings["chat_template"] = chat_template
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | config))


def build_llama(folder: Path, seed: int = 0, **overrides: Any) -> Path:
    """A random llama with its tokenizer at `folder`; the same seed gives the same bytes."""
    return build(folder, LLAMA | overrides, seed)


LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "vocab_size": 320,
    "tie_word_embeddings": True,
    "eos_token_id": 2,
}
QWEN3_MOE: dict[str, Any] = LLAMA | {
    "model_type": "qwen3_moe",
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "moe_intermediate_size": 64,
    "head_dim": 16,
    "rope_theta": 10000.0,
    "max_position_embeddings": 512,
    "norm_topk_prob": True,
    "tie_word_embeddings": False,
}
"""A mixture of experts, whose routers mlx-lm quantizes to 8 bits whatever the rest has."""


def build(folder: Path, config: dict[str, Any], seed: int = 0) -> Path:
    """A random model of any family that mlx-lm has, with its tokenizer, at `folder`."""
    build_tokenizer(folder)
    (folder / "config.json").write_text(json.dumps(config))
    family = importlib.import_module(f"mlx_lm.models.{config['model_type']}")
    shapes: Any = tree_flatten(family.Model(family.ModelArgs.from_dict(config)).parameters())
    keys = mx.random.split(mx.random.key(seed), len(shapes))
    weights = {name: mx.random.normal(value.shape, key=key) * 0.1 for (name, value), key in zip(shapes, keys)}
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    return folder


def quantized(base: Path, folder: Path, mode: str) -> Path:
    """The model at `base` as `mlx_lm.convert -q --q-mode MODE` makes it of it, at `folder`."""
    model, config = quantize_model(*load_model(base), None, None, mode=mode)
    folder.mkdir(parents=True)
    for path in base.glob("tokenizer*"):
        (folder / path.name).write_bytes(path.read_bytes())
    save_model(folder, model)
    save_config(config, folder / "config.json")
    return folder


MODES = ("affine", "mxfp4", "mxfp8", "nvfp4")
"""MLX's ways to quantize. Only the first has scales that are floats, and biases."""


def build_chat(folder: Path, chat_template: str | None, eos_token_id: int | list[int] = 2, **tokenizer: Any) -> Path:
    """As `build_llama`, with another template, other tokens in its tokenizer_config.json, and these EOS ids in its config."""
    build_llama(folder, eos_token_id=eos_token_id)
    build_tokenizer(folder, chat_template, **tokenizer)
    return folder


def keep_as_hub_model(cache: Path, model: Path, name: str = "org/tiny") -> str:
    """Puts `model` into a cache of huggingface_hub's, all but its weights, as a tokenizer's fetch leaves it; gives its id."""
    commit = "c" * 40
    there = cache / f"models--{name.replace('/', '--')}"
    (there / "refs").mkdir(parents=True)
    (there / "refs" / "main").write_text(commit)
    (there / "snapshots" / commit).mkdir(parents=True)
    for path in model.iterdir():
        if path.suffix != ".safetensors":
            shutil.copy(path, there / "snapshots" / commit / path.name)
    return name
