"""Log-probabilities as the definition has them: full logits, one sequence at a time, in float64."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx import nn

from prefd.daemon.worker.data.tokens import Completion

Array = npt.NDArray[np.float64]


def completion(length: int, start: int, seed: int = 0, vocab: int = 300) -> Completion:
    return Completion(np.random.default_rng(seed).integers(3, vocab, length).astype(np.uint32), start)


def naive(model: nn.Module, one: Completion) -> Array:
    """(length - start,) Each token's log-probability from the full logits of the sequence alone, in float64."""
    logits = np.array(model(mx.array(one.ids[None].astype(np.int32)))[0].astype(mx.float32)).astype(np.float64)
    top = logits.max(-1, keepdims=True)
    logprobs = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
    places = np.arange(one.start - 1, len(one.ids) - 1)
    return np.asarray(logprobs[places, one.ids[one.start :]])
