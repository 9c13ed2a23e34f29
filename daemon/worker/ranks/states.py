"""Packs what one stage of a pipeline hands to the next: for each call of the trunk the states that its last layer gave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.ranks.frames import Array, pack_arrays, unpack_arrays

Names = Sequence[Sequence[Sequence[str]]]
"""Of each call's state the arrays' names, each with its dtype, as `pack_arrays` gives them; one that is an array has no name."""


def pack_states(states: Sequence[Any]) -> tuple[Names, list[Array]]:
    """Make what a frame carries of states: arrays, or trees of them. Raises JobError for a state of anything else."""
    names: list[list[list[str]]] = []
    arrays: list[Array] = []
    for state in states:
        leaves: Any = [("", state)] if isinstance(state, mx.array) else tree_flatten(state)
        for name, leaf in leaves:
            if not isinstance(leaf, mx.array):
                raise JobError(
                    f"its layers hand on {type(leaf).__name__} {name}, which is no array and cannot be sent to another rank; set "
                    "reference.pipeline: false"
                )
        packed_names, packed = pack_arrays(leaves)
        names.append(packed_names)
        arrays += packed
    return names, arrays


def unpack_states(names: Names, arrays: Sequence[Array]) -> list[Any]:
    """Make the states again of what `pack_states` made, to the same bits; a tuple has become a list."""
    states: list[Any] = []
    begin = 0
    for each in names:
        leaves = unpack_arrays(each, arrays[begin : begin + len(each)])
        begin += len(each)
        states.append(leaves[0][1] if each[0][0] == "" else tree_unflatten(leaves))
    return states
