"""Quantization-aware training: every forward pass is that of the model that fusing and then quantizing will give.

The weight of a module is rounded as `mx.quantize` rounds it, adapter merged, once an optimizer step; calls between use
that constant, so it costs the same whether a step calls the module once or, prompts shared and layers recomputed, many
times. The gradient is straight-through: that of the unrounded weight at the rounded forward pass. For an adapter this is
the gradient of its own unrounded output with the input held fixed, so the large weight needs none.

Only modules of this model change, to subclasses of their own classes with the same parameters under the same names:
adapters, checkpoints and optimizer state do not know of it. Modules that are not trained are rounded in place when it
begins. It takes a second copy of the trained modules' weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_lm.tuner.dora import DoRAEmbedding, DoRALinear
from mlx_lm.tuner.lora import LoRAEmbedding, LoRALinear, LoRASwitchLinear

from prefd.daemon.specs.training_spec import QATSpec
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models.adapters import adapted_modules, base_of, merged, weight_held

ADAPTERS = (LoRALinear, LoRASwitchLinear, LoRAEmbedding, DoRALinear, DoRAEmbedding)


def straight_through(exact: mx.array, rounded: mx.array) -> mx.array:
    """The value of `rounded`, with a gradient to both, as if each had been returned."""
    made: mx.array = _straight_through(exact, rounded)
    return made


_straight_through: Any = mx.custom_function(lambda exact, rounded: rounded)
_straight_through.vjp(lambda inputs, cotangent, value: (cotangent, cotangent))


@dataclass(frozen=True)
class Rounding:
    """How one weight will be quantized: `settings` as `mx.quantize` takes them, stored as `dtype` when it is."""

    settings: dict[str, Any]
    dtype: mx.Dtype

    def __call__(self, weight: mx.array) -> mx.array:
        """`weight` as it reads after quantizing, float32: kernels do not round what they unpack."""
        packed, *parts = mx.quantize(weight.astype(self.dtype), **self.settings)
        scales, *biases = [
            part.astype(mx.float32) if mx.issubdtype(part.dtype, mx.floating) else part for part in parts
        ]
        return mx.dequantize(packed, scales, biases[0] if biases else None, **self.settings)


class RoundedWeight(nn.Module):
    """Mixed into the class of a module whose own weight is trained. Until `refresh` the module is what it was."""

    rounding: Rounding
    rounded: mx.array | None = None

    def refresh(self) -> None:
        """Round the weight as it is now, for the calls to come."""
        object.__setattr__(self, "rounded", self.rounding(self.weight).astype(self.weight.dtype))
        mx.eval(self.rounded)

    def _call(self, method: str, *given: Any, **more: Any) -> Any:
        if self.rounded is None:
            return getattr(super(), method)(*given, **more)
        with weight_held(self, straight_through(self.weight, self.rounded)):
            return getattr(super(), method)(*given, **more)

    def __call__(self, *given: Any, **more: Any) -> Any:
        return self._call("__call__", *given, **more)

    def as_linear(self, x: mx.array) -> Any:
        """For an embedding that is the head too."""
        return self._call("as_linear", x)


class RoundedAdapter(nn.Module):
    """Mixed into a LoRA or DoRA module: base and adapter as one rounded weight. Until `refresh` it is what it was."""

    rounding: Rounding
    whole: nn.Module | None = None

    def refresh(self) -> None:
        """Merge and round the weight as it is now, for the calls to come."""
        whole = merged(self, dtype=mx.float32)
        whole.weight = self.rounding(whole.weight).astype(base_of(self).weight.dtype)
        mx.eval(whole.weight)
        object.__setattr__(self, "whole", whole)  # set as nn.Modules are, it would be a child with parameters

    def _exact(self, method: str, x: mx.array, *rest: Any, **more: Any) -> Any:
        """The unrounded output, or any part of it that has its whole gradient; `x` is constant."""
        return getattr(super(), method)(x, *rest, **more)

    def _call(self, method: str, x: mx.array, *rest: Any, **more: Any) -> Any:
        if self.whole is None:
            return getattr(super(), method)(x, *rest, **more)
        rounded = getattr(self.whole, method)(x, *rest, **more)
        if not self.training:
            return rounded
        exact = self._exact(method, mx.stop_gradient(x), *rest, **more)
        return straight_through(exact.astype(rounded.dtype), rounded)

    def __call__(self, x: mx.array, *rest: Any, **more: Any) -> Any:
        return self._call("__call__", x, *rest, **more)

    def as_linear(self, x: mx.array) -> Any:
        """For an embedding that is the head too."""
        return self._call("as_linear", x)


class RoundedLoRALinear(RoundedAdapter, LoRALinear):
    """The most common one, without the base's product with `x`: it has no gradient."""

    def _exact(self, method: str, x: mx.array, *rest: Any, **more: Any) -> Any:
        return self.scale * ((x @ self.lora_a) @ self.lora_b)


@cache
def rounded_class(kind: Any) -> type[nn.Module]:
    """`kind`, a class of modules, computing with rounded weights."""
    if kind is LoRALinear:
        return RoundedLoRALinear
    mixin = RoundedAdapter if issubclass(kind, ADAPTERS) else RoundedWeight
    return type(f"Rounded{kind.__name__}", (mixin, kind), {})


@dataclass
class QAT:
    """The modules of one policy that are rounded, from the step after `start_step`."""

    start_step: int | None
    """None: never."""
    trained: list[nn.Module]
    frozen: list[tuple[nn.Module, Rounding]]
    active: bool = False

    @classmethod
    def install(cls, model: nn.Module, spec: QATSpec | None, stored: mx.Dtype, steps: int) -> QAT:
        """Make `model`, trainable already, ready for it; nothing is rounded yet. `stored` is the type that the fused
        model's weights will have, `steps` the length of the run.

        Raises `JobError` for a model that cannot be quantized so, or a run that ends before it begins.
        """
        if spec is None:
            return cls(None, [], [])
        if spec.start_step >= steps:
            raise JobError(
                f"training.qat.start_step is {spec.start_step} and the job has {steps} steps: it never comes"
            )
        made = cls(spec.start_step, [], [])
        adapted = dict(adapted_modules(model))
        for path, module in list(model.named_modules()):
            if path.rpartition(".")[0] in adapted:
                continue  # the base in an adapter, which is rounded with it
            base = base_of(module) if path in adapted else module
            if (rounding := _rounding(model, spec, stored, path, base)) is None:
                continue
            if path in adapted or "weight" in module.trainable_parameters():
                made.trained.append(_made_rounded(path, module, rounding))
            else:
                made.frozen.append((module, rounding))
        if not made.trained:
            raise JobError(f"training.qat: no trained weight can be quantized in groups of {spec.group_size}")
        return made

    @property
    def nbytes(self) -> int:
        """Bytes of the rounded copies of what is trained."""
        bases = (base_of(module) if isinstance(module, ADAPTERS) else module for module in self.trained)
        return sum(base.weight.nbytes for base in bases)

    def before(self, step: int) -> None:
        """Begin, if `step` (from 1) is the first that it is for."""
        if self.active or self.start_step is None or step <= self.start_step:
            return
        self.active = True
        for module, rounding in self.frozen:
            module.weight = rounding(module.weight).astype(module.weight.dtype)
            mx.eval(module.weight)
        self.refresh()

    def refresh(self) -> None:
        """Round anew what is trained, after an optimizer step has changed it."""
        if self.active:
            for module in self.trained:
                module.refresh()


def _made_rounded(path: str, module: nn.Module, rounding: Rounding) -> nn.Module:
    """`module`, of its rounded class from now on. In place, so that whoever holds it holds the rounded one."""
    if "lora_a" in module and not isinstance(module, ADAPTERS):
        raise JobError(f"training.qat: {path} has an adapter of its own kind, {type(module).__name__}; leave qat out")
    module.rounding = rounding
    module.__class__ = rounded_class(module.__class__)
    return module


def _rounding(model: nn.Module, spec: QATSpec, stored: mx.Dtype, path: str, module: nn.Module) -> Rounding | None:
    """How mlx-lm's `quantize_model` would quantize `module`: some models want some of theirs in another form."""
    if "scales" in module:
        raise JobError(f"training.qat: {path} is quantized already; train from the model that it was made from")
    if not hasattr(module, "to_quantized") or module.weight.shape[-1] % spec.group_size:
        return None
    predicate = getattr(model, "quant_predicate", None)
    answer = True if predicate is None else predicate(path, module)
    if not answer:
        return None
    settings = {"group_size": spec.group_size, "bits": spec.bits, "mode": "affine"}
    return Rounding(settings | (answer if isinstance(answer, dict) else {}), stored)
