"""Computes log Σ exp over a vocabulary, right to float32's last digits, and as fast as the device can.

`mx.logsumexp` is 1e-4 off over 49 k entries on a CPU, where it sums one after the other; and MLX's exp takes them one by
one there: 0.9 ms a row. numpy's takes sixteen at once and its sum works in pairs: 0.05 ms. But numpy has to have the
logits now, and what is evaluated while a gradient is traced keeps all that led to it: so it is for use outside of that.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import numpy.typing as npt

SUM_CHUNK = 256
Floats = npt.NDArray[np.float32]


def logsumexp(logits: mx.array) -> mx.array:
    """Compute (N, V) → (N,) log Σ exp, in MLX's own operations, summed in two levels. Its gradient reuses the exponentials."""
    top = mx.stop_gradient(logits.max(axis=-1, keepdims=True))
    exponentials = mx.exp(logits - top)
    chunked = logits.shape[-1] // SUM_CHUNK * SUM_CHUNK
    total = exponentials[:, chunked:].sum(axis=-1)
    if chunked:
        total = total + exponentials[:, :chunked].reshape(len(logits), -1, SUM_CHUNK).sum(axis=-1).sum(axis=-1)
    return mx.log(total) + top.squeeze(-1)


def logsumexp_now(logits: Floats, softmax: Floats | None = None) -> Floats:
    """Compute (N, V) → (N,) log Σ exp, in numpy, and the softmax into `softmax`, row by row: a row stays in a core's cache."""
    totals = np.empty(len(logits), np.float32)
    scratch = np.empty(logits.shape[1], np.float32)
    with np.errstate(all="ignore"):  # what is not finite is found in the loss, where its row is known
        for index, row in enumerate(logits):
            exponentials = scratch if softmax is None else softmax[index]
            top = row.max()
            np.subtract(row, top, out=exponentials)
            np.exp(exponentials, out=exponentials)
            total = exponentials.sum()
            totals[index] = top + np.log(total)
            if softmax is not None:
                exponentials /= total
    return totals
