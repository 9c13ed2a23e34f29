"""Fused models: what mlx-lm loads from the folder computes what base and adapter do, in the base's own form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from mlx import nn
from mlx_lm.models.mla import MultiLinear
from mlx_lm.models.switch_layers import SwitchLinear
from mlx_lm.utils import load_model

from prefd.daemon.worker.models.quantized_modules import dequantize_module, quantize_like, unpack_weight
from prefd.daemon.worker.outputs.fuse import _plain_config, write_fused
from prefd.daemon.worker.outputs.fuse_tensors import find_wrong_tensors
from support import tiny_architectures as architectures
from support import tiny_model as tiny
from support.adapters import adapted, apart, logits

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
    fused_model, config = load_model(tmp_path / "kept")
    assert {name: config["quantization"][name] for name in quantize} == quantize
    nn.quantize(exact, **quantize)  # what keeping the form costs is one more rounding, of the same weights
    adapted_one = "model.layers.1.mlp.up_proj."
    for name in ("weight", "scales", "biases"):
        one, other = (dict_of(model)[adapted_one + name] for model in (exact, fused_model))
        assert mx.array_equal(one, other)


@pytest.mark.parametrize("training", [{"fine_tune": "lora"}, {"fine_tune": "dora"}, {"fine_tune": "full"}], ids=str)
def test_half_precision_weights_are_rounded_once_to_their_own_type(tmp_path: Path, training: dict[str, Any]) -> None:
    model = tiny.build_llama(tmp_path / "half")
    halves = {name: value.astype(mx.bfloat16) for name, value in load(model / "model.safetensors").items()}
    mx.save_safetensors(str(model / "model.safetensors"), halves)
    source, policy = adapted(model, tmp_path / "adapter", **training)
    write_fused(source, tmp_path / "fused", dequantize=False)
    arrays = load(tmp_path / "fused/model.safetensors")
    assert {value.dtype for value in arrays.values()} == {mx.bfloat16}

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
    error = np.abs(np.array(arrays[f"{module}.weight"].astype(mx.float32)) - exact)
    assert (error <= np.abs(exact) * 2**-8 + 1e-7).all()  # half a unit in bfloat16's last place
    assert apart(logits(policy), logits(load_model(tmp_path / "fused")[0])) < 0.02


def load(path: Path) -> dict[str, mx.array]:
    arrays = mx.load(str(path))
    assert isinstance(arrays, dict)
    return arrays


def dict_of(model: nn.Module) -> dict[str, mx.array]:
    from mlx.utils import tree_flatten

    parameters: Any = tree_flatten(model.parameters())
    return dict(parameters)


def of_type(model: Path, dtype: mx.Dtype) -> Path:
    weights = {name: value.astype(dtype) for name, value in load(model / "model.safetensors").items()}
    mx.save_safetensors(str(model / "model.safetensors"), weights)
    return model


BASES: list[tuple[str, str, mx.Dtype]] = [
    ("lora", "LLAMA", mx.float32),
    ("dora", "LLAMA", mx.float32),
    ("lora", "QWEN3_MOE", mx.float32),
    ("lora", "LLAMA", mx.bfloat16),
]


@pytest.mark.parametrize("mode", tiny.MODES)
@pytest.mark.parametrize(("kind", "family", "dtype"), BASES, ids=lambda value: str(value).removeprefix("mlx.core."))
def test_a_base_of_every_mode_is_dequantized_to_the_models_own_type_with_the_adapters_logits(
    tmp_path: Path, mode: str, kind: str, family: str, dtype: mx.Dtype
) -> None:
    plain = of_type(tiny.build(tmp_path / "plain", getattr(tiny, family)), dtype)
    keys = ["self_attn.q_proj", "self_attn.o_proj"]
    source, policy = adapted(
        tiny.quantized(plain, tmp_path / "base", mode), tmp_path / "adapter",
        fine_tune=kind, lora={"rank": 4, "scale": 20.0} | ({"keys": keys} if kind == "dora" else {}),
    )  # fmt: skip
    write_fused(source, tmp_path / "fused", dequantize=True)
    fused, config = load_model(tmp_path / "fused")
    assert {"quantization", "quantization_config"}.isdisjoint(config)
    assert {value.dtype for value in dict_of(fused).values()} == {dtype}
    base, _ = load_model(tmp_path / "base")
    effect = apart(logits(base), logits(policy))
    assert apart(logits(fused), logits(policy)) < (1e-6 if dtype == mx.float32 else 0.1 * effect)
    assert effect > 1e-3


EXPERTS = ["qwen2_moe", "mixtral", "olmoe", "gpt_oss", "granitemoe", "deepseek_v3"]
WIDE = {
    "hidden_size": 128,
    "intermediate_size": 128,
    "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 64,
    "head_dim": 32,
    "kv_lora_rank": 64,
    "q_lora_rank": 64,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 32,
    "v_head_dim": 32,
    "num_hidden_layers": 2,
    "vocab_size": 300,
}
"""Widths that every mode has a group for."""


@pytest.mark.thorough
@pytest.mark.parametrize("mode", tiny.MODES)
@pytest.mark.parametrize("family", EXPERTS)
def test_experts_and_heads_of_other_families_are_dequantized_with_the_adapters_logits(
    tmp_path: Path, mode: str, family: str
) -> None:
    config = architectures.SHARED | architectures.OWN[family] | {"model_type": family} | WIDE
    base = tiny.quantized(tiny.build(tmp_path / "plain", config), tmp_path / "base", mode)
    source, policy = adapted(base, tmp_path / "adapter", lora={"rank": 4, "scale": 20.0})
    write_fused(source, tmp_path / "fused", dequantize=True)
    assert find_wrong_tensors(source, tmp_path / "fused") == []
    fused, _ = load_model(tmp_path / "fused")
    assert not any("scales" in module for module in fused.modules())
    assert apart(logits(fused), logits(policy)) < 1e-5


@pytest.mark.parametrize("mode", tiny.MODES)
def test_heads_that_have_a_matrix_each_are_dequantized(mode: str) -> None:
    plain = MultiLinear(64, 32, 4)
    packed = plain.to_quantized(
        group_size=32 if mode.startswith("mx") else 16 if mode == "nvfp4" else 64,
        bits=8 if mode == "mxfp8" else 4,
        mode=mode,
    )
    states = mx.random.normal((1, 4, 3, 64), key=mx.random.key(0))
    assert apart(dequantize_module(packed)(states), packed(states)) < 1e-5


@pytest.mark.parametrize("mode", tiny.MODES)
@pytest.mark.parametrize("family", ["LLAMA", "QWEN3_MOE"])
def test_a_base_of_every_mode_keeps_it_and_is_what_quantizing_the_exact_one_gives(
    tmp_path: Path, mode: str, family: str
) -> None:
    base = tiny.quantized(tiny.build(tmp_path / "plain", getattr(tiny, family)), tmp_path / "base", mode)
    source, _ = adapted(base, tmp_path / "adapter")
    write_fused(source, tmp_path / "exact", dequantize=True)
    write_fused(source, tmp_path / "kept", dequantize=False)
    again = tiny.quantized(tmp_path / "exact", tmp_path / "again", mode)
    fused_arrays, expected = (load(folder / "model.safetensors") for folder in (tmp_path / "kept", again))
    assert fused_arrays.keys() == expected.keys() == load(base / "model.safetensors").keys()
    changed = [name for name in fused_arrays if not mx.array_equal(fused_arrays[name], expected[name])]
    routers_and_tables = ("mlp.gate", "embed_tokens", "lm_head")  # not adapted: as they were, and not rounded again
    assert all(any(part in name for part in routers_and_tables) for name in changed), changed


def test_experts_with_a_scale_each_are_dequantized_by_it(tmp_path: Path) -> None:
    weight = mx.random.normal((3, 32, 64), key=mx.random.key(0)) * mx.array([1e-3, 1.0, 40.0])[:, None, None]
    plain = SwitchLinear(64, 32, 3, bias=False)
    plain.weight = weight
    packed = plain.to_quantized(group_size=16, bits=4, mode="nvfp4", global_scale=True)
    error = mx.linalg.norm(unpack_weight(packed) - weight, axis=(1, 2)) / mx.linalg.norm(weight, axis=(1, 2))
    assert float(error.max()) < 0.12
    again = quantize_like(packed, dequantize_module(packed))
    for name in ("weight", "scales", "global_scale"):
        assert mx.array_equal(again[name], packed[name]), name


def test_a_quantization_that_the_config_has_in_its_text_model_is_taken_out_there_too() -> None:
    config = {"text_config": {"hidden_size": 8, "quantization_config": {"quant_method": "mxfp4"}}, "quantization": {}}
    assert _plain_config(config) == {"text_config": {"hidden_size": 8}}
