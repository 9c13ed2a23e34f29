"""Fused models: what mlx-lm loads from the folder computes what base and adapter do, in the base's own form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
import tiny
from adapted import adapted, apart, logits
from mlx import nn
from mlx_lm.utils import load_model

from prefd.daemon.worker.fuse import write_fused

KINDS: list[dict[str, Any]] = [
    {"fine_tune": "lora"},
    {"fine_tune": "dora"},
    {"fine_tune": "full", "num_layers": 1},
    {"lora": {"rank": 4, "keys": ["self_attn.q_proj", "model.embed_tokens"]}},  # the tied head with it
]


@pytest.mark.parametrize("training", KINDS, ids=str)
def test_a_fused_model_has_the_adapters_logits_and_the_bases_files(
    tiny_model: Path, tmp_path: Path, training: dict[str, Any]
) -> None:
    source, _ = adapted(tiny_model, tmp_path / "adapter", **training)
    write_fused(source, tmp_path / "fused", dequantize=False)
    fused, _ = mlx_lm.load(str(tmp_path / "fused"))
    whole, _ = mlx_lm.load(str(tiny_model), adapter_path=str(source.adapter))
    base, _ = mlx_lm.load(str(tiny_model))
    assert apart(logits(fused), logits(whole)) < 1e-6
    assert apart(logits(fused), logits(base)) > 1e-2
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "fused" / name).read_bytes() == (tiny_model / name).read_bytes()
    assert json.loads((tmp_path / "fused/config.json").read_text()) == json.loads(
        (tiny_model / "config.json").read_text()
    )
    assert not list(tmp_path.glob(".fused*"))


def test_experts_are_fused_too(tmp_path: Path) -> None:
    source, policy = adapted(tiny.build(tmp_path / "moe", tiny.QWEN3_MOE), tmp_path / "adapter")
    write_fused(source, tmp_path / "fused", dequantize=False)
    fused, _ = load_model(tmp_path / "fused")
    assert apart(logits(fused), logits(policy)) < 1e-6


@pytest.mark.parametrize(("kind", "bits"), [("lora", 4), ("lora", 6), ("lora", 8), ("dora", 4), ("dora", 8)])
def test_a_quantized_base_stays_so_or_is_dequantized(tiny_model: Path, tmp_path: Path, kind: str, bits: int) -> None:
    quantize = {"bits": bits, "group_size": 32}
    source, policy = adapted(tiny_model, tmp_path / "adapter", fine_tune=kind, quantize=quantize)
    write_fused(source, tmp_path / "exact", dequantize=True)
    exact, config = load_model(tmp_path / "exact")
    assert "quantization" not in config
    assert not any("scales" in module for module in exact.modules())
    assert apart(logits(exact), logits(policy)) < 1e-5

    write_fused(source, tmp_path / "kept", dequantize=False)
    kept, config = load_model(tmp_path / "kept")
    assert {name: config["quantization"][name] for name in quantize} == quantize
    nn.quantize(exact, **quantize)  # what keeping the form costs is one more rounding, of the same weights
    adapted_one = "model.layers.1.mlp.up_proj."
    for name in ("weight", "scales", "biases"):
        one, other = (dict_of(model)[adapted_one + name] for model in (exact, kept))
        assert mx.array_equal(one, other)


@pytest.mark.parametrize("training", [{"fine_tune": "lora"}, {"fine_tune": "dora"}, {"fine_tune": "full"}], ids=str)
def test_half_precision_weights_are_rounded_once_to_their_own_type(tmp_path: Path, training: dict[str, Any]) -> None:
    model = tiny.build_llama(tmp_path / "half")
    halves = {name: value.astype(mx.bfloat16) for name, value in load(model / "model.safetensors").items()}
    mx.save_safetensors(str(model / "model.safetensors"), halves)
    source, policy = adapted(model, tmp_path / "adapter", **training)
    write_fused(source, tmp_path / "fused", dequantize=False)
    made = load(tmp_path / "fused/model.safetensors")
    assert {value.dtype for value in made.values()} == {mx.bfloat16}

    module = "model.layers.0.self_attn.o_proj"
    leaves = {
        name: np.array(value, np.float64) for name, value in load(tmp_path / "adapter/adapters.safetensors").items()
    }
    if training["fine_tune"] == "full":
        exact = leaves[f"{module}.weight"]
    else:
        exact = np.array(halves[f"{module}.weight"].astype(mx.float32), np.float64)
        exact = exact + 2.5 * (leaves[f"{module}.lora_a"] @ leaves[f"{module}.lora_b"]).T
        if training["fine_tune"] == "dora":
            exact *= (leaves[f"{module}.m"] / np.linalg.norm(exact, axis=1))[:, None]
    error = np.abs(np.array(made[f"{module}.weight"].astype(mx.float32)) - exact)
    assert (error <= np.abs(exact) * 2**-8 + 1e-7).all()  # half a unit in bfloat16's last place
    assert apart(logits(policy), logits(load_model(tmp_path / "fused")[0])) < 0.02


def load(path: Path) -> dict[str, mx.array]:
    found = mx.load(str(path))
    assert isinstance(found, dict)
    return found


def dict_of(model: nn.Module) -> dict[str, mx.array]:
    from mlx.utils import tree_flatten

    found: Any = tree_flatten(model.parameters())
    return dict(found)
