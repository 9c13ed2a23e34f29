"""A LayerWindow is a contiguous run of a model's layers that runs alone: stand-ins take the places of the others.

A layer outside of it passes on what the last one that ran gave, which is kept for each call of the trunk; so the calls, their order and
their kernels are those of the whole model. No class of mlx or mlx-lm is touched: as in `trunk.Recomputed`, the stand-ins are in a copy of
the trunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import mlx.core as mx
from mlx import nn

from prefd.daemon.worker.scoring.prefix import skip_tokens
from prefd.daemon.worker.scoring.scorer import Scorer
from prefd.daemon.worker.scoring.trunk import collect_caches, list_arrays, replace_layers


@dataclass
class LayerWindow:
    """LayerWindow is the layers from `begin` to `end`, and the states of the batch that runs through them."""

    begin: int
    end: int
    states: list[Any] = field(default_factory=list)
    """What the last layer that has run gave in each call of the trunk, in the order of the calls."""
    call: int = -1

    def start_batch(self, states: list[Any]) -> None:
        """Begin with a batch, of which earlier layers have given `states`; they are replaced in that list."""
        self.states, self.call = states, -1

    def start_call(self) -> None:
        """Begin with the next call of the trunk."""
        self.call += 1

    @property
    def state(self) -> Any:
        """Return what the last layer that has run gave in this call."""
        return self.states[self.call]

    def keep(self, state: Any) -> None:
        """Compute `state`, which a layer gave, and keep it in the place of what an earlier window gave."""
        mx.eval(state)
        self.states[self.call : self.call + 1] = [state]

    def restrict(self, scorer: Scorer, layers: Sequence[nn.Module]) -> Scorer:
        """Make a scorer that runs `layers` alone, those of the window, and nothing in place of the others of `scorer`."""
        parts = scorer.parts
        assert parts is not None
        count = len(parts.layers)
        stand_ins = [
            _Ran(layers[index - self.begin], index, self, keeps=index + 1 == self.end < count)
            if self.begin <= index < self.end
            else _Skipped(layer, index, self)
            for index, layer in enumerate(parts.layers)
        ]
        model = replace_layers(parts, stand_ins)
        return replace(scorer, model=model, parts=replace(parts, model=model))


@dataclass(frozen=True)
class _StandIn:
    """Takes a layer's place. Whatever the trunk asks of it, the layer answers."""

    layer: nn.Module
    index: int
    window: LayerWindow

    def __getattr__(self, name: str) -> Any:
        return getattr(self.layer, name)


@dataclass(frozen=True)
class _Skipped(_StandIn):
    """A layer outside of the window: gives what the last one that ran gave, and counts the tokens that its cache would have."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.index == 0:
            self.window.start_call()
        state = self.window.state
        _, first = list_arrays(state)[0] if not isinstance(state, mx.array) else ("", state)
        for cache in collect_caches((args, kwargs)):
            skip_tokens(cache, *first.shape[:2])
        return state


@dataclass(frozen=True)
class _Ran(_StandIn):
    """A layer of the window; the last one `keeps` what it gives."""

    keeps: bool

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.index == 0:
            self.window.start_call()
        output = self.layer(*args, **kwargs)
        if self.keeps:
            self.window.keep(output)
        return output


def read_arrays(tree: Any) -> None:
    """Read the arrays of a tree from the disk, one after the other: what a conversion takes is free before the next."""
    for _, array in list_arrays(tree):
        mx.eval(array)
