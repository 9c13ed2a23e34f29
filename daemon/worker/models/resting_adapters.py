"""Sets a model's adapters at rest for a while: it is then its base, module by module, and computes the base's very numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mlx import nn

BASES = ("linear", "embedding")
"""Where mlx-lm's adapter modules keep the module that they adapt."""


@dataclass(frozen=True)
class _Adapted:
    """A module with an adapter, its base, and the dictionary or list that holds it."""

    holder: Any
    key: Any
    module: nn.Module
    base: nn.Module


@dataclass(frozen=True)
class RestingAdapters:
    """RestingAdapters knows the adapters of a model, and takes them off for the length of a block."""

    model: nn.Module
    adapted: tuple[_Adapted, ...]

    @classmethod
    def find(cls, model: nn.Module) -> RestingAdapters:
        """Find the adapters of `model`, LoRA's and DoRA's."""
        return cls(model, tuple(_list_adapted(model)))

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let the model be its base inside the block, in evaluation mode, and as it was after it."""
        was_training = self.model.training
        for each in self.adapted:
            each.holder[each.key] = each.base
        self.model.eval()
        try:
            yield
        finally:
            for each in self.adapted:
                each.holder[each.key] = each.module
            self.model.train(was_training)


def _list_adapted(holder: Any) -> Iterator[_Adapted]:
    """List the adapted modules in a tree of modules, dictionaries and lists."""
    items = holder.items() if isinstance(holder, dict) else enumerate(holder)  # a module is a dictionary too
    for key, value in items:
        if isinstance(value, nn.Module) and "lora_a" in value:
            yield _Adapted(holder, key, value, next(value[name] for name in BASES if name in value))
        elif isinstance(value, dict | list):
            yield from _list_adapted(value)
