"""Packs the pairs of a job for other ranks: tokens, masks, and the reference's numbers, each completion once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.ranks.frames import Array, Frame

Rows = Mapping[Completion, Array]
"""The reference's log-probabilities of each completion, (length,) float32; empty where the loss takes no reference."""

LABELS = (None, False, True)
"""Of a pair, of a bad answer and of a good one: what a loss of single answers reads."""


def pack_completions(completions: Sequence[Completion]) -> list[Array]:
    """Make arrays of completions: their lengths, starts and whether they have a mask; all tokens; all masks."""
    facts = np.array(
        [(len(each.ids), each.start, each.own_mask is not None) for each in completions], np.int64
    ).reshape(-1, 3)
    masks = [each.own_mask for each in completions if each.own_mask is not None]
    ids = np.concatenate([each.ids for each in completions]) if completions else np.zeros(0, np.uint32)
    return [facts, ids, np.concatenate(masks) if masks else np.zeros(0, np.bool_)]


def unpack_completions(arrays: Sequence[Array]) -> list[Completion]:
    """Make the completions again of what `pack_completions` made."""
    facts, ids, masks = arrays
    completions, offset, mask_offset = [], 0, 0
    for length, start, has_mask in facts.tolist():
        own_mask = None
        if has_mask:
            own_mask = masks[mask_offset : mask_offset + length - start]
            mask_offset += length - start
        completions.append(Completion(ids[offset : offset + length], start, own_mask=own_mask))
        offset += length
    return completions


def pack_pairs(examples: Sequence[Example], rows: Rows) -> list[Array]:
    """Make arrays of pairs and of the reference's numbers for them."""
    numbers: dict[Completion, int] = {}
    sides = [[numbers.setdefault(side, len(numbers)) for side in (each.chosen, each.rejected)] for each in examples]
    completions = list(numbers)
    facts = [(each.row, *pair, LABELS.index(each.desirable)) for each, pair in zip(examples, sides)]
    places = np.array(facts, np.int64).reshape(-1, 4)
    values = np.concatenate([rows[each] for each in completions]) if rows else np.zeros(0, np.float32)
    return [places, *pack_completions(completions), values]


def unpack_pairs(frame: Frame) -> tuple[list[Example], dict[Completion, Array]]:
    """Return the pairs, in their order, and the reference's numbers, of what `pack_pairs` made."""
    places, *packed, values = frame.arrays
    completions = unpack_completions(packed)
    rows: dict[Completion, Array] = {}
    start = 0
    if values.size:
        for each in completions:
            length = len(each.ids) - each.start
            rows[each] = values[start : start + length]
            start += length
    examples = [
        Example(row, completions[chosen], completions[rejected], desirable=LABELS[label])
        for row, chosen, rejected, label in places.tolist()
    ]
    return examples, rows
