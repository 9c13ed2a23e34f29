"""Compares each tensor of a fused model, on the CPU, with the one that base and adapter give together.

Logits of a few rows show whether the model as a whole is sound; they miss one wrong row of a table, or a projection that
is a few percent too large. A weight that is written plain may be off by its type's rounding. One that is quantized anew may
be off by what its mode takes from the very weights that it should hold: they are quantized here once more to know that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx import nn

from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.adapters import get_base
from prefd.daemon.worker.models.quantized_modules import (
    QUANTIZED,
    dequantize_module,
    float_type,
    quantize_like,
    unpack_weight,
)
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.outputs.fuse import list_parameters

ROUNDING = {mx.float32: 1e-5, mx.float16: 2**-10, mx.bfloat16: 2**-7}
"""Type of the fused tensor → how far a row of it may be off, as a share of the row's size. The first is for sums in
another order.
"""
SMALLEST_STEP = {mx.float32: 1e-30, mx.float16: 2**-24, mx.bfloat16: 1e-30}
"""Type of the fused tensor → how far a row of zeros, or nearly, may be off: half precision has no smaller number."""
PRODUCT_TOLERANCE = 2e-3
"""How far what an adapter adds may be off, as a share of it: a GPU may have multiplied with fewer digits (TF32)."""
REQUANTIZING_FACTOR = 1.5
"""How many times as much as here quantizing may take from a row: where a number is halfway, another device may choose the
other neighbour.
"""
PACKED = {"weight", "scales", "biases", "global_scale"}


@dataclass(frozen=True)
class WrongTensor:
    """WrongTensor is a tensor that is not what it should be."""

    name: str
    deviation: float
    """How far its worst row is off, as a share of the row's size."""
    allowed: float
    """The deviation that rounding would explain."""

    def __str__(self) -> str:
        if self.allowed == 0:
            return f"{self.name} is not the base's"
        return f"{self.name} is {self.deviation:.2g} of its size off in the worst row, and {self.allowed:.2g} would be explained"


def find_wrong_tensors(source: ModelSource, fused: Path) -> list[WrongTensor]:
    """List the tensors of the model at `fused` that are not those of `source`, base and adapter; empty where all are."""
    with mx.stream(mx.cpu):
        expected, _ = loading.open_base(source)
        loading.put_adapter(expected, source)
        actual, _ = loading.open_base(ModelSource(str(fused)))
        return list(_compare(expected, actual))


def _compare(expected: nn.Module, actual: nn.Module) -> Iterator[WrongTensor]:
    actual_modules = dict(actual.named_modules())
    adapted_names = {name for name, module in expected.named_modules() if "lora_a" in module}
    names_inside_adapters = {f"{name}.{place}": name for name in adapted_names for place in ("linear", "embedding")}
    compared: set[str] = set()
    for name, module in expected.named_modules():
        if name in adapted_names:
            base = get_base(module)
            compared |= {f"{name}.{leaf}" for leaf in PACKED}
            if "scales" in base and type(base) not in QUANTIZED:
                continue  # a model's own kind, which only its own code can read
            yield from _compare_weight(name, _read_weight(base), actual_modules.get(name), adapter=module)
            _free_weights(base, actual_modules.get(name))
        elif (
            name not in names_inside_adapters
            and type(module) in QUANTIZED
            and "scales" not in actual_modules.get(name, {})
        ):
            compared |= {f"{name}.{leaf}" for leaf in PACKED}
            yield from _compare_weight(name, unpack_weight(module), actual_modules.get(name))
            _free_weights(module, actual_modules.get(name))
    expected_leaves, actual_leaves = list_parameters(expected)[::-1], dict(list_parameters(actual))
    for module in (*expected.modules(), *actual.modules()):
        module.clear()
    yield from _compare_unadapted(expected_leaves, actual_leaves, compared, names_inside_adapters)


def _free_weights(*modules: nn.Module | None) -> None:
    """Drop the weights of modules that have been compared: they were read for that, and need not stay in memory."""
    for module in filter(None, modules):
        for leaf in PACKED:
            module.pop(leaf, None)


def _compare_unadapted(
    expected_leaves: list[tuple[str, mx.array]],
    actual_leaves: dict[str, mx.array],
    compared: set[str],
    names_inside_adapters: Mapping[str, str],
) -> Iterator[WrongTensor]:
    """Compare every parameter that no adapter is on and that keeps its form; both collections are emptied.

    `names_inside_adapters`: the paths at which adapters hold their bases → the adapters' own paths.
    """
    while expected_leaves:
        path, expected = expected_leaves.pop()
        module, _, leaf = path.rpartition(".")
        name = f"{names_inside_adapters.get(module, module)}.{leaf}"
        if name in compared or leaf in loading.ADAPTER_LEAVES:
            continue
        actual = actual_leaves.pop(name, None)
        if actual is None or actual.shape != expected.shape:
            yield WrongTensor(name, 1.0, 0.0)
        elif mx.issubdtype(expected.dtype, mx.floating) and mx.issubdtype(actual.dtype, mx.floating):
            yield from _compare_rows(name, expected, actual, 0.0)
        elif not mx.array_equal(expected, actual):
            yield WrongTensor(name, 1.0, 0.0)


def _read_weight(module: nn.Module) -> mx.array:
    """Return the weight of `module`, float32, whether it is quantized or not."""
    return unpack_weight(module) if "scales" in module else module.weight.astype(mx.float32)


def _compare_weight(
    name: str, base_weight: mx.array, module: nn.Module | None, adapter: nn.Module | None = None
) -> Iterator[WrongTensor]:
    """Compare the weight of `module`, of the fused model, with `base_weight` and what `adapter` adds to it."""
    name = f"{name}.weight"
    if module is None or "lora_a" in module:
        yield WrongTensor(name, 1.0, 0.0)
        return
    expected, tolerance = base_weight, mx.zeros(base_weight.shape[:-1])
    if adapter is not None:
        delta = _compute_delta(adapter)
        tolerance = PRODUCT_TOLERANCE * _measure_rows(delta)
        expected = base_weight + delta
        if "m" in adapter:
            stretch = adapter.m / mx.linalg.norm(expected, axis=-1)
            expected = stretch[:, None] * expected
            tolerance = 2 * mx.abs(stretch) * tolerance  # once for the sum, once for its length
    if "scales" not in module:
        yield from _compare_rows(name, expected, module.weight, tolerance)
        return
    actual = unpack_weight(module)
    if actual.shape != expected.shape:
        yield WrongTensor(name, 1.0, 0.0)
        return
    plain = _make_plain_module(module, expected.astype(float_type(module, mx.float32)))
    loss = _measure_rows(unpack_weight(quantize_like(module, plain)) - expected)
    yield from _compare_rows(name, expected, actual, tolerance + REQUANTIZING_FACTOR * loss)


def _make_plain_module(quantized: nn.Module, weight: mx.array) -> nn.Module:
    """Make the plain module of the kind of `quantized`, with `weight`."""
    module = dequantize_module(quantized)
    module.weight = weight
    return module


def _compute_delta(adapter: nn.Module) -> mx.array:
    """Compute what a LoRA adds to its base's weight, before DoRA's lengths: (out, in), of experts (n, out, in)."""
    lora_a, lora_b = (adapter[name].astype(mx.float32) for name in ("lora_a", "lora_b"))
    if "embedding" in adapter:
        delta: mx.array = adapter.scale * (lora_a @ lora_b)
    elif lora_b.ndim == 3:
        delta = adapter.scale * (lora_b @ lora_a.reshape(len(lora_b), -1, lora_a.shape[-1]))
    else:
        delta = adapter.scale * (lora_a @ lora_b).T
    return delta


def _compare_rows(
    name: str, expected: mx.array, actual: mx.array, tolerance: mx.array | float
) -> Iterator[WrongTensor]:
    """Compare two tensors row by row. `tolerance`: how far each row may be off besides by its type's rounding."""
    if actual.shape != expected.shape:
        yield WrongTensor(name, 1.0, 0.0)
        return
    rounding, smallest = ROUNDING.get(actual.dtype, 0.0), SMALLEST_STEP.get(actual.dtype, 0.0)
    size = _measure_rows(expected)
    deviation = _measure_rows(actual.astype(mx.float32) - expected.astype(mx.float32))
    allowed = rounding * size + smallest + tolerance
    exceeds = mx.logical_not(deviation <= allowed)  # NaN too
    if not exceeds.any():
        return
    size, allowed = mx.maximum(size, 1e-30), mx.broadcast_to(allowed, deviation.shape)
    worst = mx.argmax(mx.where(mx.isnan(deviation), mx.inf, deviation / mx.maximum(allowed, 1e-30)).flatten())
    worst_deviation, worst_allowed = (
        float(np.array((row_values / size).flatten()[worst])) for row_values in (deviation, allowed)
    )
    yield WrongTensor(name, worst_deviation, worst_allowed)


def _measure_rows(values: mx.array) -> mx.array:
    """Compute the root mean square of each row; of a scalar its size."""
    values = values.astype(mx.float32)
    return mx.sqrt(mx.mean(mx.square(values), axis=-1)) if values.ndim else mx.abs(values)
