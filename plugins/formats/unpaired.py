"""One answer to a prompt and at most a label, as for KTO or fine-tuning: there is no pair in it, and this says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prefd.plugins.formats.names import key_of
from prefd.plugins.formats.single import find_single
from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import Pair, RowFormat, UnusableRow


class Unpaired:
    """Every row is unusable: prefd's losses compare two answers to one prompt."""

    def matches(self, row: Mapping[str, Any]) -> bool:
        single = find_single(row)
        return single is not None and not single.scores

    def pair(self, row: Mapping[str, Any]) -> Pair:
        single = find_single(row)
        column = "no answer" if single is None else f"one answer ({single.column})"
        label = next((f" and a {column}" for column in sorted(row) if key_of(column) in ("label", "labels")), "")
        raise UnusableRow(
            f"unpaired: {column}{label}; prefd's losses compare two answers to one prompt, a chosen and a rejected one; where "
            "other rows have answers to it, give each a 'score', the better one the higher"
        )

    def columns(self, row: Mapping[str, Any]) -> frozenset[str]:
        return frozenset()


@hookimpl
def register_formats(register: Callable[[str, RowFormat], None]) -> None:
    register("unpaired", Unpaired())
