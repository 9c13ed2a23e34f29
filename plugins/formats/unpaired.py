"""Recognises rows of one answer and at most a label, as for KTO or fine-tuning, and says that they make no pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prefd.plugins.formats.names import key_of
from prefd.plugins.formats.single import find_single
from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import Pair, RowFormat, UnusableRow

PRECEDENCE = 20
ROW_SHAPES = ()  # none of its rows is read


class Unpaired:
    """Calls every row unusable: prefd's losses compare two answers to one prompt."""

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Says whether `row` has one answer without a score."""
        single = find_single(row)
        return single is not None and not single.scores

    def pair(self, row: Mapping[str, Any]) -> Pair:
        """Raises `UnusableRow`, with what the row has instead of two answers."""
        single = find_single(row)
        column = "no answer" if single is None else f"one answer ({single.column})"
        label = next((f" and a {column}" for column in sorted(row) if key_of(column) in ("label", "labels")), "")
        raise UnusableRow(
            f"unpaired: {column}{label}; prefd's losses compare two answers to one prompt, a chosen and a rejected one; where "
            "other rows have answers to it, give each a 'score', the better one the higher"
        )

    def columns(self, row: Mapping[str, Any]) -> frozenset[str]:
        """Names no column: there is no pair."""
        return frozenset()


@hookimpl
def register_formats(register: Callable[[str, RowFormat], None]) -> None:
    """Registers `unpaired`."""
    register("unpaired", Unpaired())
