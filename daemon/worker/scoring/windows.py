"""Runs a model's layers a window at a time, for a model that memory does not hold at once.

Every batch of a chunk runs through one window before the next is read from the disk. What a window's last layer gives is kept for
each call of the trunk, and handed to the next window's first layer; the last window runs the output head. The calls, their order
and their kernels are those of the whole model, and so are the numbers, to the last bit.

This costs one reading of the weights a chunk, and the memory of the hidden states of a chunk's tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx import nn

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.scoring.excerpt import choose_layers
from prefd.daemon.worker.scoring.layer_window import LayerWindow, read_arrays
from prefd.daemon.worker.scoring.scorer import Scorer
from prefd.daemon.worker.scoring.trunk import replace_layers
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
            window = LayerWindow(begin, min(begin + self.size, self.layer_count))
            layers = [_take(remaining, index) for index in range(window.begin, window.end)]
            scorer = window.restrict(self.scorer, layers)
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


def _take(layers: list[Any], index: int) -> nn.Module:
    """Take a layer out of `layers` and read its weights."""
    layer: nn.Module = layers[index]
    layers[index] = None
    read_arrays(layer.parameters())
    return layer
