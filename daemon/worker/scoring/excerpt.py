"""Makes an excerpt of a model: its first few layers in float32, to try on it what is true of the architecture.

Whether a way of scoring is right for an architecture shows in a few layers as well as in all of them, and in float32 it shows
beyond doubt: in half precision any other order of adding up moves a log-probability by as much as a fault would. An
excerpt shares every array that is float32 already, and no class of mlx or mlx-lm is touched.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from typing import Any

import mlx.core as mx
from mlx import nn

from prefd.daemon.worker.scoring.trunk import Parts, list_arrays, replace_layers

FEWEST = 2
"""Layers that an excerpt has at least: what one layer hands to the next is part of an architecture."""


def make_excerpt(parts: Parts) -> nn.Module:
    """Copy the model of `parts` in float32 with only its first layers, as many as have one of each kind among them.

    Where those have nothing that is trained, and later layers of their kind have, they are exchanged for these, so that
    the excerpt's gradients say something.
    """
    excerpt: nn.Module = _copy_in_float32(shorten(parts), {})
    return excerpt


def shorten(parts: Parts) -> nn.Module:
    """Copy the model of `parts` with only the layers that an excerpt has, sharing all of its arrays."""
    return replace_layers(parts, choose_layers(parts.layers))


def choose_layers(layers: Sequence[nn.Module]) -> list[nn.Module]:
    """Choose the first of `layers`, until each kind of them has been met, with trained ones in their places."""
    kinds = [_describe_kind(layer) for layer in layers]
    count = max(FEWEST, 1 + max(kinds.index(kind) for kind in kinds))
    chosen = list(layers[:count])
    for place, layer in enumerate(chosen):
        if not list_arrays(layer.trainable_parameters()):
            trained = (
                other
                for other, kind in zip(layers[count:], kinds[count:])
                if kind == kinds[place] and list_arrays(other.trainable_parameters())
            )
            chosen[place] = next(trained, layer)
    return chosen


def _describe_kind(module: Any) -> Hashable:
    """Describe what a module computes by the classes of its parts and their switches; adapters and sizes do not count."""
    if isinstance(module, list | tuple):
        return tuple(_describe_kind(each) for each in module)
    if not isinstance(module, nn.Module):
        return ()
    if "lora_a" in module:
        return _describe_kind(module["linear"] if "linear" in module else module.get("embedding"))
    switches = [
        (name, value)
        for name, value in sorted(vars(module).items())
        if isinstance(value, bool | str) and not name.startswith("_")
    ]
    parts = [(name, _describe_kind(part)) for name, part in sorted(module.items())]
    return type(module).__name__, tuple(switches), tuple(parts)


def _copy_in_float32(value: Any, copies: dict[int, Any]) -> Any:
    """Copy a tree of modules with its floating-point arrays in float32; what is in two places stays one thing."""
    if isinstance(value, mx.array):
        return value.astype(mx.float32) if mx.issubdtype(value.dtype, mx.floating) else value
    if id(value) in copies:
        return copies[id(value)]
    if isinstance(value, nn.Module):
        module_copy = copies[id(value)] = copy.copy(value)
        for name, part in value.items():
            module_copy[name] = _copy_in_float32(part, copies)
        return module_copy
    if type(value) in (list, tuple):
        return type(value)(_copy_in_float32(each, copies) for each in value)
    if type(value) is dict:
        return {name: _copy_in_float32(each, copies) for name, each in value.items()}
    return value
