"""The forward pass of a small llama with LoRA, in numpy's float64: nothing of MLX, and no gradient of anybody's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def compute_logprobs(weights: Mapping[str, Array], config: Mapping[str, Any], ids: npt.NDArray[Any]) -> Array:
    """The log-probability of each of `ids` but the first. `weights` has mlx-lm's names; `config` has the adapter's `scale` too."""
    tokens = ids[:-1].astype(int)
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    embed = "model.embed_tokens"
    table, adapter = weights[f"{embed}.embedding.weight"], weights[f"{embed}.lora_a"] @ weights[f"{embed}.lora_b"]
    table = table + config["scale"] * adapter
    x = table[tokens]
    causal = np.triu(np.full((len(tokens), len(tokens)), -np.inf), 1)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"

        def apply(name: str, values: Array, prefix: str = prefix) -> Array:
            """A linear module with its adapter."""
            path = f"{prefix}.{name}"
            low = values @ weights[f"{path}.lora_a"] @ weights[f"{path}.lora_b"]
            return np.asarray(values @ weights[f"{path}.linear.weight"].T + config["scale"] * low)

        h = _normalize(x, weights[f"{prefix}.input_layernorm.weight"], config["rms_norm_eps"])
        q, k, v = (
            apply(f"self_attn.{name}_proj", h).reshape(len(tokens), count, -1).swapaxes(0, 1)
            for name, count in (("q", heads), ("k", groups), ("v", groups))
        )
        q, k, v = _rotate(q), np.repeat(_rotate(k), heads // groups, 0), np.repeat(v, heads // groups, 0)
        scores = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1]) + causal
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        attended = (shares / shares.sum(-1, keepdims=True) @ v).swapaxes(0, 1).reshape(len(tokens), -1)
        x = x + apply("self_attn.o_proj", attended)
        h = _normalize(x, weights[f"{prefix}.post_attention_layernorm.weight"], config["rms_norm_eps"])
        gate = apply("mlp.gate_proj", h)
        x = x + apply("mlp.down_proj", gate / (1 + np.exp(-gate)) * apply("mlp.up_proj", h))
    logits = _normalize(x, weights["model.norm.weight"], config["rms_norm_eps"]) @ table.T
    top = logits.max(-1, keepdims=True)
    totals = top[:, 0] + np.log(np.exp(logits - top).sum(-1))
    return np.asarray(logits[np.arange(len(tokens)), ids[1:].astype(int)] - totals)


def _normalize(x: Array, weight: Array, eps: float) -> Array:
    return np.asarray(x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight)


def _rotate(x: Array) -> Array:
    """Rotary positions: the first half of each head's numbers turned with the second."""
    half = x.shape[-1] // 2
    angles = np.arange(x.shape[1])[:, None] / 10000.0 ** (np.arange(half) / half)
    first, second = x[..., :half], x[..., half:]
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([first * cos - second * sin, first * sin + second * cos], -1)
