"""Cuts the completions that are to be scored into batches, and bounds these anew where they take long.

A batch is bounded at the start, by a sample (`models/pass_length.py`). But a Mac that gets hot is slower, and macOS ends what keeps the
display waiting; so each batch is measured, as a training's passes are. Other batches change a score by no more than rounding.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.models.pass_length import LONGEST_SECONDS, SAMPLE_TOKENS, SLOW_PASSES
from prefd.daemon.worker.scoring.plan import batch_completions
from prefd.daemon.worker.scoring.scorer import Options

log = logging.getLogger(__name__)

SHORTEST_PIECE = 256
LEAST_HALF = 256
"""Tokens of the smaller half of a batch, at least."""
Batch = list[tuple[bytes, Completion]]
"""Completions with their keys in the cache."""


class BatchSize:
    """BatchSize bounds batches to `max_tokens` tokens, and to fewer where they take long. `layers`: those of a model whose passes a display waits for, 0 on a CPU."""

    def __init__(self, max_tokens: int, layers: int = 0) -> None:
        self.max_tokens = max_tokens
        self._layers = layers
        self._slow: list[float] = []
        """How long a layer took, in each batch that was too slow, as a multiple of how long it may."""

    def note_seconds(self, seconds: float) -> None:
        """Note how long the last batch took, and make those that follow smaller where it is one too many."""
        times = seconds / self._layers / LONGEST_SECONDS if self._layers else 0.0
        if times <= 1:
            return
        self._slow.append(times)
        if len(self._slow) < SLOW_PASSES:
            return
        tokens, times = self.max_tokens, min(self._slow)
        while times > 1 and tokens // 2 >= SAMPLE_TOKENS:
            tokens, times = tokens // 2, times / 2
        if tokens != self.max_tokens:
            log.info("a layer took %.2g s in a batch: the next ones are of %d tokens, and not %d", min(self._slow) * LONGEST_SECONDS, tokens, self.max_tokens)  # fmt: skip
        self.max_tokens = tokens
        self._slow.clear()


def shrink_pieces(options: Options, longest: int, halvings: int) -> Options:
    """Have sequences of at most `longest` tokens run in pieces, half as long for each halving: a batch may be one sequence."""
    if not halvings:
        return options
    return replace(options, chunk_tokens=max(SHORTEST_PIECE, (options.chunk_tokens or longest) >> halvings))


def cut_batches(missing: Mapping[bytes, Completion], max_tokens: int) -> list[Batch]:
    """Cut `missing` into batches of at most `max_tokens` tokens, answers to one prompt together."""
    items = list(missing.items())
    return [
        [items[row] for row in batch]
        for batch in batch_completions([completion for _, completion in items], max_tokens)
    ]


def halve_batch(batch: Batch) -> tuple[Batch, Batch] | None:
    """Cut a batch in two of about as many tokens, answers to one prompt together; None where a half would be very small."""
    lengths = [len(completion.ids) for _, completion in batch]
    ends = [
        index
        for index in range(1, len(batch))
        if not _have_one_prompt(batch[index - 1][1], batch[index][1])
        and min(sum(lengths[:index]), sum(lengths[index:])) >= LEAST_HALF
    ]
    if not ends:
        return None
    end = min(ends, key=lambda index: abs(sum(lengths[:index]) - sum(lengths[index:])))
    return batch[:end], batch[end:]


def _have_one_prompt(first: Completion, second: Completion) -> bool:
    return np.array_equal(first.ids[: first.start - 1], second.ids[: second.start - 1])
