"""Are the weights of a fused model those of base and adapter? Each tensor is compared with what it should be, on the CPU.

Logits of a few rows tell whether the whole is sound; they miss one wrong row of a table, or a projection that is a few
percent too large. A weight that is written plain may be off by its type's rounding. One that is quantized anew may be off
by what its mode takes from the very weights that it should hold: they are quantized here once more to know that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx import nn

from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.adapters import base_of
from prefd.daemon.worker.models.quantized_modules import QUANTIZED, dequantized, float_type, quantized_like, unpacked
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.outputs.fuse import parameters

ROUNDING = {mx.float32: 1e-5, mx.float16: 2**-10, mx.bfloat16: 2**-7}
"""Type of the written tensor → how far a row of it may be off, as a share of the row's size. The first is for sums in
another order.
"""
SMALLEST = {mx.float32: 1e-30, mx.float16: 2**-24, mx.bfloat16: 1e-30}
"""The same, of a row of zeros or nearly: half precision has no smaller number."""
PRODUCTS = 2e-3
"""How far what an adapter adds may be off, as a share of it: a GPU may have multiplied with fewer digits (TF32)."""
AGAIN = 1.5
"""How many times as much as here quantizing may take from a row: where a number is halfway, another device may choose the
other neighbour.
"""
PACKED = {"weight", "scales", "biases", "global_scale"}


@dataclass(frozen=True)
class Off:
    """A tensor that is not what it should be."""

    name: str
    off: float
    """Of its worst row, as a share of the row's size."""
    allowed: float

    def __str__(self) -> str:
        if self.allowed == 0:
            return f"{self.name} is not the base's"
        return (
            f"{self.name} is {self.off:.2g} of its size off in the worst row, and {self.allowed:.2g} would be explained"
        )


def tensors_off(source: ModelSource, fused: Path) -> list[Off]:
    """The tensors of the model at `fused` that are not those of `source`, base and adapter; empty where all are."""
    with mx.stream(mx.cpu):
        whole, _ = loading.open_base(source)
        loading.put_adapter(whole, source)
        found, _ = loading.open_base(ModelSource(str(fused)))
        return list(_compare(whole, found))


def _compare(whole: nn.Module, found: nn.Module) -> Iterator[Off]:
    written = dict(found.named_modules())
    adapted = {name for name, module in whole.named_modules() if "lora_a" in module}
    inner = {f"{name}.{place}": name for name in adapted for place in ("linear", "embedding")}
    seen: set[str] = set()
    for name, module in whole.named_modules():
        if name in adapted:
            base = base_of(module)
            seen |= {f"{name}.{leaf}" for leaf in PACKED}
            if "scales" in base and type(base) not in QUANTIZED:
                continue  # a model's own kind, which only its own code can read
            yield from _weight(name, _plain(base), written.get(name), adapter=module)
            _let_go(base, written.get(name))
        elif name not in inner and type(module) in QUANTIZED and "scales" not in written.get(name, {}):
            seen |= {f"{name}.{leaf}" for leaf in PACKED}
            yield from _weight(name, unpacked(module), written.get(name))
            _let_go(module, written.get(name))
    left, there = parameters(whole)[::-1], dict(parameters(found))
    for module in (*whole.modules(), *found.modules()):
        module.clear()
    yield from _rest(left, there, seen, inner)


def _let_go(*modules: nn.Module | None) -> None:
    """Weights are read when they are looked at, and need not stay in memory behind that."""
    for module in filter(None, modules):
        for leaf in PACKED:
            module.pop(leaf, None)


def _rest(
    left: list[tuple[str, mx.array]], there: dict[str, mx.array], seen: set[str], inner: Mapping[str, str]
) -> Iterator[Off]:
    """Every parameter that no adapter is on and that keeps its form; both collections are emptied.

    `inner`: where adapters hold their bases → their own names.
    """
    while left:
        path, value = left.pop()
        module, _, leaf = path.rpartition(".")
        name = f"{inner.get(module, module)}.{leaf}"
        if name in seen or leaf in loading.ADAPTER_LEAVES:
            continue
        other = there.pop(name, None)
        if other is None or other.shape != value.shape:
            yield Off(name, 1.0, 0.0)
        elif mx.issubdtype(value.dtype, mx.floating) and mx.issubdtype(other.dtype, mx.floating):
            yield from _judged(name, value, other, 0.0)
        elif not mx.array_equal(value, other):
            yield Off(name, 1.0, 0.0)


def _plain(module: nn.Module) -> mx.array:
    """The weight of `module`, float32."""
    return unpacked(module) if "scales" in module else module.weight.astype(mx.float32)


def _weight(name: str, base: mx.array, written: nn.Module | None, adapter: nn.Module | None = None) -> Iterator[Off]:
    """`written`: the module that should hold `base` with what `adapter` adds."""
    name = f"{name}.weight"
    if written is None or "lora_a" in written:
        yield Off(name, 1.0, 0.0)
        return
    should, added = base, mx.zeros(base.shape[:-1])
    if adapter is not None:
        delta = _delta(adapter)
        added = PRODUCTS * _size(delta)
        should = base + delta
        if "m" in adapter:
            stretched = adapter.m / mx.linalg.norm(should, axis=-1)
            should, added = stretched[:, None] * should, 2 * mx.abs(stretched) * added  # in the sum, and in its length
    if "scales" not in written:
        yield from _judged(name, should, written.weight, added)
        return
    value = unpacked(written)
    if value.shape != should.shape:
        yield Off(name, 1.0, 0.0)
        return
    plain = _holding(written, should.astype(float_type(written, mx.float32)))
    loss = _size(unpacked(quantized_like(written, plain)) - should)
    yield from _judged(name, should, value, added + AGAIN * loss)


def _holding(quantized: nn.Module, weight: mx.array) -> nn.Module:
    """The plain module of the kind of `quantized`, with `weight`."""
    made = dequantized(quantized)
    made.weight = weight
    return made


def _delta(adapter: nn.Module) -> mx.array:
    """What a LoRA adds to its base's weight, before DoRA's lengths: (out, in), of experts (n, out, in)."""
    lora_a, lora_b = (adapter[name].astype(mx.float32) for name in ("lora_a", "lora_b"))
    if "embedding" in adapter:
        found: mx.array = adapter.scale * (lora_a @ lora_b)
    elif lora_b.ndim == 3:
        found = adapter.scale * (lora_b @ lora_a.reshape(len(lora_b), -1, lora_a.shape[-1]))
    else:
        found = adapter.scale * (lora_a @ lora_b).T
    return found


def _judged(name: str, should: mx.array, value: mx.array, more: mx.array | float) -> Iterator[Off]:
    """`more`: how far each row may be off besides by its type's rounding."""
    if value.shape != should.shape:
        yield Off(name, 1.0, 0.0)
        return
    rounding, smallest = ROUNDING.get(value.dtype, 0.0), SMALLEST.get(value.dtype, 0.0)
    size = _size(should)
    off = _size(value.astype(mx.float32) - should.astype(mx.float32))
    allowed = rounding * size + smallest + more
    beyond = mx.logical_not(off <= allowed)  # NaN too
    if not beyond.any():
        return
    size, allowed = mx.maximum(size, 1e-30), mx.broadcast_to(allowed, off.shape)
    worst = mx.argmax(mx.where(mx.isnan(off), mx.inf, off / mx.maximum(allowed, 1e-30)).flatten())
    share, limit = (float(np.array((each / size).flatten()[worst])) for each in (off, allowed))
    yield Off(name, share, limit)


def _size(values: mx.array) -> mx.array:
    """The root mean square of each row; of a scalar its size."""
    values = values.astype(mx.float32)
    return mx.sqrt(mx.mean(mx.square(values), axis=-1)) if values.ndim else mx.abs(values)
