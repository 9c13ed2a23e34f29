"""Trains with quantization in view: every forward pass is that of the model that fusing and then quantizing will give.

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
from prefd.daemon.worker.models.adapters import get_base, hold_weight, list_adapted_modules, merge_adapter

ADAPTERS = (LoRALinear, LoRASwitchLinear, LoRAEmbedding, DoRALinear, DoRAEmbedding)


def pass_straight_through(exact: mx.array, rounded: mx.array) -> mx.array:
    """Return the value of `rounded`, with a gradient to both arguments, as if each had been returned."""
    output: mx.array = _pass_straight_through(exact, rounded)
    return output


_pass_straight_through: Any = mx.custom_function(lambda exact, rounded: rounded)
_pass_straight_through.vjp(lambda inputs, cotangent, value: (cotangent, cotangent))


@dataclass(frozen=True)
class Rounding:
    """Rounding says how one weight will be quantized: `settings` as `mx.quantize` takes them, stored as `dtype` when it is."""

    settings: dict[str, Any]
    dtype: mx.Dtype

    def __call__(self, weight: mx.array) -> mx.array:
        """Return `weight` as it reads after quantizing, float32: kernels do not round what they unpack."""
        packed, *parts = mx.quantize(weight.astype(self.dtype), **self.settings)
        scales, *biases = [
            part.astype(mx.float32) if mx.issubdtype(part.dtype, mx.floating) else part for part in parts
        ]
        return mx.dequantize(packed, scales, biases[0] if biases else None, **self.settings)


class RoundedWeight(nn.Module):
    """RoundedWeight is a mixin for the class of a module whose own weight is trained; until `refresh` the module computes as before."""

    rounding: Rounding
    rounded: mx.array | None = None

    def refresh(self) -> None:
        """Round the weight as it is now, for the calls to come."""
        object.__setattr__(self, "rounded", self.rounding(self.weight).astype(self.weight.dtype))
        mx.eval(self.rounded)

    def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        if self.rounded is None:
            return getattr(super(), method)(*args, **kwargs)
        with hold_weight(self, pass_straight_through(self.weight, self.rounded)):
            return getattr(super(), method)(*args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the module's output with its rounded weight."""
        return self._call("__call__", *args, **kwargs)

    def as_linear(self, x: mx.array) -> Any:
        """Compute logits from an embedding that is the output head too."""
        return self._call("as_linear", x)


class RoundedAdapter(nn.Module):
    """RoundedAdapter is a mixin for a LoRA or DoRA module: base and adapter as one rounded weight; until `refresh` it computes as before."""

    rounding: Rounding
    merged: nn.Module | None = None

    def refresh(self) -> None:
        """Merge and round the weight as it is now, for the calls to come."""
        merged = merge_adapter(self, dtype=mx.float32)
        merged.weight = self.rounding(merged.weight).astype(get_base(self).weight.dtype)
        mx.eval(merged.weight)
        object.__setattr__(self, "merged", merged)  # set as nn.Modules are, it would be a child with parameters

    def _exact(self, method: str, x: mx.array, *args: Any, **kwargs: Any) -> Any:
        """Compute the unrounded output, or any part of it that has its whole gradient; `x` is constant."""
        return getattr(super(), method)(x, *args, **kwargs)

    def _call(self, method: str, x: mx.array, *args: Any, **kwargs: Any) -> Any:
        if self.merged is None:
            return getattr(super(), method)(x, *args, **kwargs)
        rounded = getattr(self.merged, method)(x, *args, **kwargs)
        if not self.training:
            return rounded
        exact = self._exact(method, mx.stop_gradient(x), *args, **kwargs)
        return pass_straight_through(exact.astype(rounded.dtype), rounded)

    def __call__(self, x: mx.array, *args: Any, **kwargs: Any) -> Any:
        """Compute the output of base and adapter as one rounded weight."""
        return self._call("__call__", x, *args, **kwargs)

    def as_linear(self, x: mx.array) -> Any:
        """Compute logits from an embedding that is the output head too."""
        return self._call("as_linear", x)


class RoundedLoRALinear(RoundedAdapter, LoRALinear):
    """RoundedLoRALinear is the most common adapter, without the base's product with `x`, which has no gradient."""

    def _exact(self, method: str, x: mx.array, *args: Any, **kwargs: Any) -> Any:
        return self.scale * ((x @ self.lora_a) @ self.lora_b)


@cache
def make_rounded_class(kind: Any) -> type[nn.Module]:
    """Make the subclass of `kind`, a class of modules, that computes with rounded weights."""
    if kind is LoRALinear:
        return RoundedLoRALinear
    mixin = RoundedAdapter if issubclass(kind, ADAPTERS) else RoundedWeight
    return type(f"Rounded{kind.__name__}", (mixin, kind), {})


@dataclass
class QAT:
    """QAT holds the modules of one policy that are rounded, from the step after `start_step`."""

    start_step: int | None
    """None: never."""
    trained: list[nn.Module]
    frozen: list[tuple[nn.Module, Rounding]]
    active: bool = False

    @classmethod
    def install(cls, model: nn.Module, spec: QATSpec | None, stored_dtype: mx.Dtype, steps: int) -> QAT:
        """Make `model`, trainable already, ready to be rounded; nothing is rounded yet.

        `stored_dtype` is the type that the fused model's weights will have, `steps` the length of the run.

        Raises `JobError` for a model that cannot be quantized so, or a run that ends before it begins.
        """
        if spec is None:
            return cls(None, [], [])
        if spec.start_step >= steps:
            raise JobError(
                f"training.qat.start_step is {spec.start_step} and the job has {steps} steps: it never comes"
            )
        qat = cls(spec.start_step, [], [])
        adapted = dict(list_adapted_modules(model))
        for path, module in list(model.named_modules()):
            if path.rpartition(".")[0] in adapted:
                continue  # the base in an adapter, which is rounded with it
            base = get_base(module) if path in adapted else module
            if (rounding := _choose_rounding(model, spec, stored_dtype, path, base)) is None:
                continue
            if path in adapted or "weight" in module.trainable_parameters():
                qat.trained.append(_make_rounded(path, module, rounding))
            else:
                qat.frozen.append((module, rounding))
        if not qat.trained:
            raise JobError(f"training.qat: no trained weight can be quantized in groups of {spec.group_size}")
        return qat

    @property
    def nbytes(self) -> int:
        """Return how many bytes the rounded copies of the trained weights take."""
        bases = (get_base(module) if isinstance(module, ADAPTERS) else module for module in self.trained)
        return sum(base.weight.nbytes for base in bases)

    def begin_step(self, step: int) -> None:
        """Begin to round, if `step` (from 1) is the first that is rounded."""
        if self.active or self.start_step is None or step <= self.start_step:
            return
        self.active = True
        for module, rounding in self.frozen:
            module.weight = rounding(module.weight).astype(module.weight.dtype)
            mx.eval(module.weight)
        self.refresh()

    def refresh(self) -> None:
        """Round the trained weights anew, after an optimizer step has changed them."""
        if self.active:
            for module in self.trained:
                module.refresh()


def _make_rounded(path: str, module: nn.Module, rounding: Rounding) -> nn.Module:
    """Change the class of `module`, in place, to its rounded one: every reference to it then computes with rounded weights."""
    if "lora_a" in module and not isinstance(module, ADAPTERS):
        raise JobError(f"training.qat: {path} has an adapter of its own kind, {type(module).__name__}; leave qat out")
    module.rounding = rounding
    module.__class__ = make_rounded_class(module.__class__)
    return module


def _choose_rounding(
    model: nn.Module, spec: QATSpec, stored_dtype: mx.Dtype, path: str, module: nn.Module
) -> Rounding | None:
    """Choose the rounding that mlx-lm's `quantize_model` would do to `module`: some models quantize some modules otherwise."""
    if "scales" in module:
        raise JobError(f"training.qat: {path} is quantized already; train from the model that it was made from")
    if not hasattr(module, "to_quantized") or module.weight.shape[-1] % spec.group_size:
        return None
    predicate = getattr(model, "quant_predicate", None)
    answer = True if predicate is None else predicate(path, module)
    if not answer:
        return None
    settings = {"group_size": spec.group_size, "bits": spec.bits, "mode": "affine"}
    return Rounding(settings | (answer if isinstance(answer, dict) else {}), stored_dtype)
