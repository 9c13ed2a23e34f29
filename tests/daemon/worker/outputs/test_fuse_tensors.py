"""Each weight of a fused model is compared with base and adapter: a small fault in one tensor is found in every mode."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.outputs.fuse import write_fused
from prefd.daemon.worker.outputs.fuse_check import compare
from prefd.daemon.worker.outputs.fuse_tensors import find_wrong_tensors
from support import tiny_model
from support.adapters import adapted
from support.array_memory import count_held_bytes
from support.thinned import thin

SEQUENCES = [[5, 6, 7, 8, 9, 10, 11, 12]]
TYPES = [mx.float32, mx.float16, mx.bfloat16]


def of_type(model: Path, dtype: mx.Dtype) -> Path:
    change(model, lambda weights: {name: value.astype(dtype) for name, value in weights.items()})
    return model


def change(model: Path, how: Callable[[dict[str, mx.array]], dict[str, mx.array]]) -> None:
    path = model / "model.safetensors"
    arrays = mx.load(str(path))
    assert isinstance(arrays, dict)
    mx.eval(arrays)
    mx.save_safetensors(str(path), how(arrays), metadata={"format": "mlx"})


def set_tensor(model: Path, name: str, how: Callable[[mx.array], mx.array]) -> None:
    change(model, lambda weights: weights | {name: how(weights[name])})


def fused(tmp_path: Path, mode: str | None, dequantize: bool, dtype: mx.Dtype = mx.float32) -> ModelSource:
    """At tmp_path/fused, of the source that is returned."""
    base = of_type(tiny_model.build_llama(tmp_path / "plain"), dtype)
    if mode is not None:
        base = tiny_model.quantized(base, tmp_path / "base", mode)
    source, _ = adapted(base, tmp_path / "adapter")
    write_fused(source, tmp_path / "fused", dequantize=dequantize)
    return source


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize(
    "training",
    [
        {"fine_tune": "lora", "lora": {"rank": 4, "scale": 20.0}},
        {"fine_tune": "dora"},
        {"fine_tune": "full", "num_layers": 1},
        {"lora": {"rank": 4, "keys": ["self_attn.q_proj", "model.embed_tokens"]}},
    ],
    ids=str,
)
def test_nothing_is_said_of_a_model_that_is_whole(tmp_path: Path, training: dict[str, Any], dtype: mx.Dtype) -> None:
    base = of_type(tiny_model.build_llama(tmp_path / "plain"), dtype)
    source, _ = adapted(base, tmp_path / "adapter", **training)
    write_fused(source, tmp_path / "fused", dequantize=False)
    assert find_wrong_tensors(source, tmp_path / "fused") == []


@pytest.mark.parametrize(
    ("mode", "dequantize", "kind"),
    thin(
        product(tiny_model.MODES, [True, False], ["lora", "dora", "experts"]),
        lambda case: case[0] == "affine" or case[2] == "lora",
    ),
)
def test_nothing_is_said_of_a_quantized_one_that_is_whole(
    tmp_path: Path, mode: str, dequantize: bool, kind: str
) -> None:
    family = tiny_model.QWEN3_MOE if kind == "experts" else tiny_model.LLAMA
    for dtype in (mx.float32, mx.bfloat16):
        folder = tmp_path / str(dtype)
        base = tiny_model.quantized(of_type(tiny_model.build(folder / "plain", family), dtype), folder / "base", mode)
        more = {"fine_tune": "dora", "lora": {"rank": 4, "keys": ["self_attn.q_proj"]}} if kind == "dora" else {}
        source, _ = adapted(base, folder / "adapter", **more)
        write_fused(source, folder / "fused", dequantize=dequantize)
        assert find_wrong_tensors(source, folder / "fused") == []


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_nothing_is_said_of_a_model_that_is_quantized_at_load(tmp_path: Path, bits: int, dtype: mx.Dtype) -> None:
    base = of_type(tiny_model.build_llama(tmp_path / "plain"), dtype)
    source, _ = adapted(base, tmp_path / "adapter", quantize={"bits": bits, "group_size": 32})
    for dequantize in (True, False):
        write_fused(source, tmp_path / f"{dequantize}", dequantize=dequantize)
        assert find_wrong_tensors(source, tmp_path / f"{dequantize}") == []


def test_weights_do_not_stay_in_memory_behind_the_look_at_them(tmp_path: Path) -> None:
    base = tiny_model.build_llama(tmp_path / "plain", hidden_size=256, intermediate_size=1024, num_hidden_layers=16)
    source, policy = adapted(base, tmp_path / "adapter", num_layers=8)
    write_fused(source, tmp_path / "fused", dequantize=False)
    del policy
    mx.clear_cache()
    held = count_held_bytes()
    mx.reset_peak_memory()
    assert find_wrong_tensors(source, tmp_path / "fused") == []
    assert mx.get_peak_memory() - held < 0.7 * (base / "model.safetensors").stat().st_size
    assert mx.get_active_memory() - held < 1e6


LAYER = "model.layers.1."
FAULTS: dict[str, tuple[str, Callable[[mx.array], mx.array]]] = {
    "a projection 5 % too large": (f"{LAYER}self_attn.q_proj.weight", lambda value: value * 1.05),
    "a row of the table lost": (
        "model.embed_tokens.weight",
        lambda value: mx.concatenate([value[:30], value[30:31] * 0, value[31:]]),
    ),
    "a norm 2 % too large": ("model.norm.weight", lambda value: value * 1.02),
    "another sign": (f"{LAYER}self_attn.k_proj.weight", lambda value: -value),
    "no number": (f"{LAYER}mlp.up_proj.weight", lambda value: value * float("nan")),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("mode", "dtype"), [(None, mx.bfloat16), ("mxfp4", mx.float32), ("affine", mx.float16)])
def test_one_tensor_that_is_off_is_named(tmp_path: Path, mode: str | None, dtype: mx.Dtype, fault: str) -> None:
    source = fused(tmp_path, mode, dequantize=mode is not None, dtype=dtype)
    name, how = FAULTS[fault]
    set_tensor(tmp_path / "fused", name, lambda value: how(value).astype(value.dtype))
    assert [tensor.name for tensor in find_wrong_tensors(source, tmp_path / "fused")] == [name]


@pytest.mark.parametrize("mode", tiny_model.MODES)
def test_scales_that_are_lost_are_no_loss_of_quantizing(tmp_path: Path, mode: str) -> None:
    source = fused(tmp_path, mode, dequantize=False)
    for name in ("self_attn.k_proj", "mlp.down_proj"):
        set_tensor(tmp_path / "fused", f"{LAYER}{name}.scales", lambda value: value * 0)
    tensors = find_wrong_tensors(source, tmp_path / "fused")
    assert sorted(each.name for each in tensors) == [f"{LAYER}mlp.down_proj.weight", f"{LAYER}self_attn.k_proj.weight"]
    assert all(each.allowed < 0.7 * each.deviation for each in tensors)


@pytest.mark.parametrize("mode", tiny_model.MODES)
def test_a_part_that_is_not_adapted_is_the_bases_bit_for_bit_where_it_stays_quantized(
    tmp_path: Path, mode: str
) -> None:
    source = fused(tmp_path, mode, dequantize=False)
    set_tensor(tmp_path / "fused", "model.embed_tokens.weight", lambda value: value ^ 1)
    (off,) = find_wrong_tensors(source, tmp_path / "fused")
    assert str(off) == "model.embed_tokens.weight is not the base's"


def test_a_model_without_what_was_trained_is_another(tmp_path: Path) -> None:
    source = fused(tmp_path, "mxfp8", dequantize=False)
    base = mx.load(str(tmp_path / "base/model.safetensors"))
    assert isinstance(base, dict)
    change(tmp_path / "fused", lambda weights: base)
    assert len(find_wrong_tensors(source, tmp_path / "fused")) == 14  # every module that the adapter is on


def test_the_comparison_refuses_it_with_the_tensor_and_the_remedy(tmp_path: Path) -> None:
    source = fused(tmp_path, "mxfp4", dequantize=False)
    compare(source, tmp_path / "fused", SEQUENCES)
    set_tensor(tmp_path / "fused", "model.norm.weight", lambda value: value * 1.02)
    set_tensor(tmp_path / "fused", f"{LAYER}mlp.up_proj.scales", lambda value: value * 0)
    message = (
        r"the fused model is not what base and adapter are: model\.layers\.1\.mlp\.up_proj\.weight is \S+ of its size off in "
        r"the worst row, and \S+ would be explained \(and 1 more\); it is not kept\. The adapter is whole: use it "
        r"as it is, add output\.dequantize: true, or take output\.fuse away"
    )
    with pytest.raises(JobError, match=message):
        compare(source, tmp_path / "fused", SEQUENCES)
