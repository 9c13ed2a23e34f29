"""Digests pairs by their tokens, so that it is known later whether they are still those that were trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from prefd.daemon.worker.data.tokens import Example


def digest_examples(examples: Sequence[Example]) -> str:
    """Digest the pairs' tokens in their order, and which of these count."""
    digest = hashlib.sha256()
    for example in examples:
        for side in (example.chosen, example.rejected):
            digest.update(np.array([side.start, len(side.ids)], dtype="<i8").tobytes())
            digest.update(np.asarray(side.ids, dtype="<i8").tobytes())
            if side.own_mask is not None:
                digest.update(side.own_mask.tobytes())
    return digest.hexdigest()
