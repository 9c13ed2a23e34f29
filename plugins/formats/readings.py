"""Reads all rows of a dataset one by one, for formats that make several pairs of a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prefd.plugins.types import Pair, Reading, UnusableRow

RowPairs = tuple[list[tuple[Pair, frozenset[str]]], list[UnusableRow]]
"""The pairs of one row, each with the columns that it is made of, and why others of its pairs cannot be made."""


def read_rows(rows: Mapping[int, Mapping[str, Any]], pairs_of_row: Callable[[Mapping[str, Any]], RowPairs]) -> Reading:
    """Makes the pairs of each row by `pairs_of_row`, and keeps the reason where it raises `UnusableRow`."""
    reading = Reading()
    for number, row in rows.items():
        try:
            row_pairs, unusable = pairs_of_row(row)
        except UnusableRow as reason:
            reading.unusable.append((number, reason))
            continue
        reading.pairs += [(number, pair) for pair, _ in row_pairs]
        reading.unusable += [(number, reason) for reason in unusable]
        reading.columns[number] = {column for _, pair_columns in row_pairs for column in pair_columns}
    return reading


def first_pair(reading: Reading) -> Pair:
    """Gives the first pair of a reading. Raises the first `UnusableRow` where there is none."""
    if not reading.pairs:
        raise reading.unusable[0][1]
    return reading.pairs[0][1]
