"""Runs a model's layers a window at a time, for a model that memory does not hold at once.

Every batch of a chunk runs through one window before the next is read from the disk. What a window's last layer gives is kept for
each call of the trunk, and handed to the next window's first layer; the last window runs the output head. The calls, their order
and their kernels are those of the whole model, and so are the numbers, to the last bit.

No class of mlx or mlx-lm is touched: as in `trunk.Recomputed`, stand-ins take the layers' places in a copy of the trunk. This costs
one reading of the weights a chunk, and the memory of the hidden states of a chunk's tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import mlx.core as mx
from mlx import nn

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.scoring.excerpt import choose_layers
from prefd.daemon.worker.scoring.prefix import skip_tokens
from prefd.daemon.worker.scoring.scorer import Scorer
from prefd.daemon.worker.scoring.trunk import collect_caches, list_arrays, replace_layers
from prefd.plugins.types import Logprobs

OpenLayers = Callable[[], list[nn.Module]]
"""Opens all layers of the model anew, none of them read yet; nothing else may hold on to them."""


@dataclass(frozen=True)
class WindowedScorer:
    """Scores batches as `scorer` does, to the last bit, with at most `size` of the layers in memory."""

    scorer: Scorer
    """The way to score, with a model whose layers are never read: only what is before and behind them."""
    open_layers: OpenLayers
    size: int

    @property
    def layer_count(self) -> int:
        """Return the number of the model's layers."""
        assert self.scorer.parts is not None
        return len(self.scorer.parts.layers)

    @property
    def window_count(self) -> int:
        """Return the number of windows that a chunk runs through."""
        return -(-self.layer_count // self.size)

    def describe(self) -> str:
        """Say in words how completions are scored."""
        return f"{self.scorer.describe()}; {self.size} of {self.layer_count} layers at a time"

    def make_sample(self) -> nn.Module:
        """Make a model of a few layers, of each kind one, to measure: they are read."""
        assert self.scorer.parts is not None
        return replace_layers(self.scorer.parts, choose_layers(self.open_layers()))

    def logprobs(
        self, batches: Sequence[Sequence[Completion]], on_window: Callable[[int], None] = lambda _: None
    ) -> Iterator[Logprobs]:
        """Compute for each of `batches` what `Scorer.logprobs` gives for it, all weights read once.

        `on_window` is called with a batch's index whenever the batch has run through a window, but for the last.
        """
        remaining = self.open_layers()
        states_of_batches: list[list[Any]] = [[] for _ in batches]
        for begin in range(0, self.layer_count, self.size):
            window = _Window(begin, min(begin + self.size, self.layer_count))
            layers = [_take(remaining, index) for index in range(window.begin, window.end)]
            scorer = self._with_window(window, layers)
            for index, batch in enumerate(batches):
                window.start_batch(states_of_batches[index])
                if window.end < self.layer_count:
                    scorer.run_trunk(batch)
                    on_window(index)
                else:
                    yield scorer.logprobs(batch)
                    states_of_batches[index].clear()
            del layers, scorer
            mx.clear_cache()

    def _with_window(self, window: _Window, layers: Sequence[nn.Module]) -> Scorer:
        """Make the scorer that runs `layers` alone, those of the window, and nothing in place of the others."""
        parts = self.scorer.parts
        assert parts is not None
        count = len(parts.layers)
        stand_ins = [
            _Ran(layers[index - window.begin], index, window, keeps=index + 1 == window.end < count)
            if window.begin <= index < window.end
            else _Skipped(layer, index, window)
            for index, layer in enumerate(parts.layers)
        ]
        model = replace_layers(parts, stand_ins)
        return replace(self.scorer, model=model, parts=replace(parts, model=model))


def read_arrays(tree: Any) -> None:
    """Read the arrays of a tree from the disk, one after the other: what a conversion takes is free before the next."""
    for _, array in list_arrays(tree):
        mx.eval(array)


def _take(layers: list[Any], index: int) -> nn.Module:
    """Take a layer out of `layers` and read its weights."""
    layer: nn.Module = layers[index]
    layers[index] = None
    read_arrays(layer.parameters())
    return layer


@dataclass
class _Window:
    """The layers from `begin` to `end`, and the states of the batch that runs through them."""

    begin: int
    end: int
    states: list[Any] = field(default_factory=list)
    """What the last layer that has run gave in each call of the trunk, in the order of the calls."""
    call: int = -1

    def start_batch(self, states: list[Any]) -> None:
        self.states, self.call = states, -1

    def start_call(self) -> None:
        self.call += 1

    @property
    def state(self) -> Any:
        return self.states[self.call]

    def keep(self, state: Any) -> None:
        """Compute `state`, which a layer gave, and keep it in the place of what an earlier window gave."""
        mx.eval(state)
        self.states[self.call : self.call + 1] = [state]


@dataclass(frozen=True)
class _StandIn:
    """Takes a layer's place. Whatever the trunk asks of it, the layer answers."""

    layer: nn.Module
    index: int
    window: _Window

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
