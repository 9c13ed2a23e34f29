"""Computes log-probabilities and their gradients as the definition has them: full logits, one sequence at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn

from prefd.daemon.worker.data.tokens import Completion


def score_fully(model: nn.Module, completion: Completion) -> mx.array:
    """Compute the log-probabilities (length - start,) of a completion's tokens from the logits of the sequence alone."""
    logits: mx.array = model(mx.array(completion.ids[None].astype(np.int32)))[0].astype(mx.float32)
    places = mx.arange(completion.start - 1, len(completion.ids) - 1)
    logits = logits[places]
    targets = mx.array(completion.ids[completion.start :].astype(np.int32))
    return mx.take_along_axis(logits, targets[:, None], axis=1)[:, 0] - mx.logsumexp(logits, axis=1)


def differentiate_fully(model: nn.Module, completions: Sequence[Completion], weights: mx.array) -> tuple[mx.array, Any]:
    """Compute the log-probabilities of all tokens, one behind another, and the gradient of their sum weighted by `weights`."""

    def compute() -> tuple[mx.array, mx.array]:
        scores = mx.concatenate([score_fully(model, completion) for completion in completions])
        return (scores * weights).sum(), scores

    (_, scores), gradients = nn.value_and_grad(model, compute)()
    mx.eval(scores, gradients)
    return scores, gradients
