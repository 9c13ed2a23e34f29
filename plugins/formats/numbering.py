"""Reads columns that are several alike, as `response_1` and `response_2`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from prefd.plugins.formats.names import ANSWERS, CHATS, words_of

ORDINALS = {"first": "1", "second": "2", "third": "3", "one": "1", "two": "2", "three": "3"}


class Numbered(NamedTuple):
    """Numbered is a column that is one of several alike.

    `human_ref_A` is `a` of `human_ref`; `first_response` and `response_01` are `1` of `response`.
    """

    base: tuple[str, ...]
    mark: str


def numbered(column: str) -> Numbered | None:
    """Reads a name that has one mark, as `response_1`; None for any other name."""
    words = [ORDINALS.get(word, word) for word in words_of(column)]
    places = [place for place, word in enumerate(words) if len(word) == 1 or word.isdigit()]
    if not places or len(words) == 1 or (len(places) > 1 and places[-1] != len(words) - 1):
        return None
    base = (*words[: places[-1]], *words[places[-1] + 1 :])
    mark = words[places[-1]]
    return Numbered(base, str(int(mark)) if mark.isdecimal() else mark)


def is_answer_base(base: tuple[str, ...]) -> bool:
    """Says whether numbered columns of this name are answers (`response`, `conversation`), not what is said of them."""
    last = ANSWERS | CHATS | {"ref", "candidate"}
    return base[-1] in last and set(base) <= last | {"model", "assistant", "human", "generated", "ai"}


def numbered_columns(columns: Iterable[str]) -> dict[tuple[str, ...], dict[str, str]]:
    """Groups numbered columns: {name without its mark: {mark: column}}, the marks in order.

    Names that have a mark twice are left out.
    """
    marks_of: dict[tuple[str, ...], dict[str, str]] = {}
    repeated_bases = set()
    for column in sorted(columns):
        if numbered_column := numbered(column):
            marks = marks_of.setdefault(numbered_column.base, {})
            if numbered_column.mark in marks:
                repeated_bases.add(numbered_column.base)
            marks[numbered_column.mark] = column
    return {
        base: {mark: marks[mark] for mark in sorted(marks, key=_order_of)}
        for base, marks in marks_of.items()
        if base not in repeated_bases
    }


def _order_of(mark: str) -> tuple[bool, int, str]:
    """Numbers by their value (10 behind 9), before letters."""
    return not mark.isdigit(), int(mark) if mark.isdigit() else 0, mark
