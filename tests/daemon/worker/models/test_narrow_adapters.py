"""Adapters on a model in half precision compute in its type, and are trained in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.tuner.lora import LoRAEmbedding, LoRALinear, LoRASwitchLinear

from prefd.daemon.worker.models.narrow_adapters import narrow_adapters
from support.array_memory import count_held_bytes

IDS = mx.array([[3, 7, 1]])
KINDS: dict[str, tuple[Callable[[], Any], Callable[[Any, mx.array], mx.array]]] = {
    "linear": (lambda: LoRALinear(16, 8, r=4), lambda module, x: module(x)),
    "experts": (
        lambda: LoRASwitchLinear(16, 8, 3, r=4),
        lambda module, x: module(x[:, None, None], mx.array([[0], [2], [1]])),
    ),
    "embedding": (lambda: LoRAEmbedding(11, 16, r=4), lambda module, _: module(IDS)),
    "head": (lambda: LoRAEmbedding(11, 16, r=4), lambda module, x: module.as_linear(x)),
}


def build(make: Callable[[], Any]) -> Any:
    """An adapter that does something, on a base in bfloat16."""
    mx.random.seed(0)
    module = make()
    base = module["linear"] if "linear" in module else module["embedding"]
    base.set_dtype(mx.bfloat16)
    base.freeze()
    module.lora_b = mx.random.normal(module.lora_b.shape) * 0.1
    return module


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_and_gradients_are_those_of_the_wide_adapter_but_for_rounding(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gather = mx.gather_mm  # which takes float32 alone on a CPU

    def gather_as_on_a_gpu(a: mx.array, b: mx.array, **keywords: Any) -> mx.array:
        return gather(a.astype(mx.float32), b.astype(mx.float32), **keywords).astype(mx.result_type(a, b))

    monkeypatch.setattr(mx, "gather_mm", gather_as_on_a_gpu)
    make, call = KINDS[kind]
    x = mx.random.normal((3, 16), key=mx.random.key(1)).astype(mx.bfloat16)

    def compute(module: Any) -> tuple[mx.array, dict[str, mx.array]]:
        _, gradients = nn.value_and_grad(module, lambda: call(module, x).astype(mx.float32).sum())()
        assert module.lora_a.dtype == module.lora_b.dtype == mx.float32
        return call(module, x), dict(tree_flatten(gradients))

    narrow = build(make)
    narrow_adapters(narrow)
    wide, wide_gradients = compute(build(make))
    out, gradients = compute(narrow)
    assert out.dtype == mx.bfloat16
    np.testing.assert_allclose(
        np.array(out.astype(mx.float32)), np.array(wide.astype(mx.float32)), atol=0.06, rtol=0.02
    )
    for name, expected in wide_gradients.items():
        assert gradients[name].dtype == mx.float32
        np.testing.assert_allclose(
            np.array(gradients[name]), np.array(expected), atol=0.02 * float(mx.abs(expected).max()) + 1e-6
        )


def test_no_float32_copy_of_the_input_is_kept() -> None:
    """What a forward and backward pass takes at its peak, of layers that share an input."""

    def measure(narrow: bool) -> int:
        model = nn.Module()
        model.layers = [build(lambda: LoRALinear(512, 64, r=4)) for _ in range(6)]
        if narrow:
            narrow_adapters(model)
        x = mx.random.normal((2048, 512)).astype(mx.bfloat16)
        mx.eval(x, model.parameters())
        before = count_held_bytes()
        mx.reset_peak_memory()
        loss = nn.value_and_grad(model, lambda: sum((layer(x).astype(mx.float32) ** 2).sum() for layer in model.layers))
        mx.eval(loss())
        return mx.get_peak_memory() - before

    assert measure(narrow=True) < 0.8 * measure(narrow=False)


def test_a_model_in_float32_is_not_changed_by_it() -> None:
    module = LoRALinear(16, 8, r=4)
    x = mx.random.normal((3, 16))
    expected = module(x)
    narrow_adapters(module)
    assert mx.array_equal(module(x), expected)
