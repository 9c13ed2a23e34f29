"""Finds the only answer of a row, and the columns that may be its score, by which several rows make pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from prefd.plugins.formats.answers import as_number, find_answers
from prefd.plugins.formats.chats import as_chat
from prefd.plugins.formats.fields import is_text
from prefd.plugins.formats.names import key_of, side_of
from prefd.plugins.formats.prompt import find_prompt
from prefd.plugins.formats.score_words import RANKS, SCORES
from prefd.plugins.formats.sides import find_sides, has_worse_side
from prefd.plugins.types import UnusableRow


class Single(NamedTuple):
    """Single holds the one answer of a row, and the columns that may be its score, the surest first."""

    column: str
    answer: Any
    scores: tuple[str, ...]


def find_single(row: Mapping[str, Any]) -> Single | None:
    """Finds the one answer of `row` after its prompt; None where there is not exactly one."""
    columns = [column for column in sorted(row) if side_of(column) == "answer"]
    if len(columns) != 1 or find_sides(row) is not None or has_worse_side(row) or find_answers(row) is not None:
        return None
    answer = as_chat(row[columns[0]])
    if not is_text(answer) or not _has_prompt(row, columns[0]):
        return None
    numeric_columns = {key_of(column): column for column in sorted(row) if as_number(row[column]) is not None}
    return Single(
        columns[0], answer, tuple(numeric_columns[key] for key in (*SCORES, *sorted(RANKS)) if key in numeric_columns)
    )


def _has_prompt(row: Mapping[str, Any], answer: str) -> bool:
    try:
        return find_prompt(row, frozenset([answer])).text is not None
    except UnusableRow:
        return True
