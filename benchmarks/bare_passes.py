"""The limit that a training step is held against: a bare forward and backward pass over the same tokens, each once and none padded.

Prompt, chosen and rejected answer of a pair stand behind each other in one sequence, short pairs behind each other up to 512 tokens, for
matrix products want some hundred rows. The trunk runs over all of them, the output head over the answers; the gradient is of fixed
numbers in place of a loss. No softmax, no reference, no metrics, no optimizer; and answers see the ones before them, which is wrong.

Two other ways come nearer to what prefd runs, one step each: prompts and answers in passes of their own, as the second go on from the
first; and answers padded as prefd pads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np
from clock import now
from mlx import nn

from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.scoring.plan import pad_length
from prefd.daemon.worker.scoring.scorer import Scorer
from prefd.daemon.worker.training.trainer import list_sides

JOINED = 512
Piece = tuple[Any, Any]
"""Token ids, and the places whose next token is an answer's."""


def run_bare(scorer: Scorer, batches: Sequence[Sequence[Example]], way: str = "bare") -> list[float]:
    """The seconds of each batch of pairs. `way`: one of WAYS."""
    parts = scorer.parts
    assert parts is not None

    def compute(tokens: mx.array, places: mx.array) -> mx.array:
        trunk: Any = parts.trunk
        hidden = trunk(tokens[None])[0]
        total: mx.array = (hidden.astype(mx.float32) * 1e-3).sum()
        if places.size:
            total = total + (parts.logits(hidden[places]).astype(mx.float32) * 1e-3).sum()
        return total

    gradients_of = nn.value_and_grad(scorer.model, compute)
    seconds = []
    for batch in batches:
        began = now()
        for group in WAYS[way](batch):
            for tokens, places in _join(group):
                mx.eval(gradients_of(mx.array(tokens), mx.array(places)))
        seconds.append(now() - began)
    return seconds


def _list_whole(batch: Sequence[Example]) -> list[list[Piece]]:
    """Each prompt with both its answers behind it."""
    pieces = []
    for example in batch:
        chosen, rejected = example.chosen, example.rejected
        tokens = np.concatenate([chosen.ids, rejected.ids[rejected.start :]])
        pieces.append((tokens, np.arange(chosen.start - 1, len(tokens) - 1)))
    return [pieces]


def _list_apart(batch: Sequence[Example], padded: bool = False) -> list[list[Piece]]:
    """The prompts in passes of their own, then the answers, each from its prompt's last token on; padded as prefd pads them, or not."""
    prompts = [(example.chosen.ids[: example.chosen.start - 1], np.arange(0)) for example in batch]
    answers = []
    for side in list_sides(batch):
        tokens = side.ids[side.start - 1 : -1]
        width = pad_length(len(tokens)) if padded else len(tokens)
        answers.append((np.pad(tokens, (0, width - len(tokens))), np.arange(len(tokens))))
    return [prompts, answers]


def _join(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Pieces behind each other, up to JOINED tokens at a time."""
    tokens: list[Any] = []
    places: list[Any] = []
    length = 0
    for own, own_places in pieces:
        if length and length + len(own) > JOINED:
            yield np.concatenate(tokens), np.concatenate(places)
            tokens, places, length = [], [], 0
        tokens.append(own)
        places.append(length + own_places)
        length += len(own)
    yield np.concatenate(tokens), np.concatenate(places)


WAYS: dict[str, Callable[[Sequence[Example]], list[list[Piece]]]] = {
    "bare": _list_whole,
    "bare-apart": _list_apart,
    "bare-padded": partial(_list_apart, padded=True),
}
