"""The limit that a training step is held against: a bare forward and backward pass over the same tokens, each once and none padded.

Prompt, chosen and rejected answer of a pair stand behind each other in one sequence, short pairs behind each other up to 512 tokens, for
matrix products want some hundred rows. The trunk runs over all of them, the output head over the answers; the gradient is of fixed
numbers in place of a loss. No softmax, no reference, no metrics, no optimizer; and answers see the ones before them, which is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from clock import now
from mlx import nn

from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.scoring.scorer import Scorer

JOINED = 512


def run_bare(scorer: Scorer, batches: Sequence[Sequence[Example]]) -> list[float]:
    """The seconds of each batch of pairs."""
    parts = scorer.parts
    assert parts is not None

    def compute(tokens: mx.array, places: mx.array) -> mx.array:
        trunk: Any = parts.trunk
        hidden = trunk(tokens[None])[0]
        logits = parts.logits(hidden[places]).astype(mx.float32)
        return (hidden.astype(mx.float32) * 1e-3).sum() + (logits * 1e-3).sum()

    gradients_of = nn.value_and_grad(scorer.model, compute)
    seconds = []
    for batch in batches:
        began = now()
        for tokens, places in _list_sequences(batch):
            mx.eval(gradients_of(mx.array(tokens), mx.array(places)))
        seconds.append(now() - began)
    return seconds


def _list_sequences(batch: Sequence[Example]) -> Iterator[tuple[Any, Any]]:
    """Token ids, and the places whose next token is an answer's."""
    tokens: list[Any] = []
    places: list[Any] = []
    length = 0
    for example in batch:
        chosen, rejected = example.chosen, example.rejected
        own = np.concatenate([chosen.ids, rejected.ids[rejected.start :]])
        if length and length + len(own) > JOINED:
            yield np.concatenate(tokens), np.concatenate(places)
            tokens, places, length = [], [], 0
        tokens.append(own)
        places.append(length + np.arange(chosen.start - 1, len(own) - 1))
        length += len(own)
    yield np.concatenate(tokens), np.concatenate(places)
