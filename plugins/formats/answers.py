"""The answers to one prompt that stand in one row: in numbered columns, or in a list."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prefd.plugins.formats.chats import as_chat
from prefd.plugins.formats.fields import is_text, kind_of
from prefd.plugins.formats.names import LISTS, is_answer_base, key_of, numbered_columns
from prefd.plugins.types import UnusableRow

TEXTS = ("response", "answer", "text", "completion", "output", "content", "generation", "summary")
"""Keys of the answer's text in a list of objects."""


class Answers(NamedTuple):
    """At least two answers."""

    texts: Sequence[Any]
    marks: tuple[str, ...]
    """What tells them apart: the ends of their columns' names, or places in the list from 0."""
    names: tuple[str, ...]
    """Their columns; none for a list."""
    columns: frozenset[str]
    items: Sequence[Mapping[str, Any]] = ()
    """What a list's objects say of each answer."""
    key: str = ""
    """Of its text in them."""

    @property
    def listed(self) -> str:
        """The answers in words."""
        return " and ".join(self.names) or f"the answers of {min(self.columns)}"


def find_answers(row: Mapping[str, Any]) -> Answers | None:
    """The answers of `row`; None where there are not two, or more than one set of them."""
    found = [answers for answers in (*_numbered(row), *_lists(row)) if len(answers.texts) > 1]
    return found[0] if len(found) == 1 else None


def why_none(row: Mapping[str, Any], format_name: str) -> UnusableRow:
    """Why a row of a dataset whose rows have answers has none."""
    for base, columns in numbered_columns(row).items():
        for column in columns.values():
            if is_answer_base(base) and not is_text(as_chat(row[column])):
                return UnusableRow(f"wrong types: {column} is {kind_of(row[column])}, not text or chat messages")
    return UnusableRow(f"not in the dataset's format ({format_name})")


def _numbered(row: Mapping[str, Any]) -> list[Answers]:
    found = []
    for base, columns in numbered_columns(row).items():
        if is_answer_base(base) and all(is_text(as_chat(row[column])) for column in columns.values()):
            texts = [as_chat(row[column]) for column in columns.values()]
            found.append(Answers(texts, tuple(columns), tuple(columns.values()), frozenset(columns.values())))
    return found


def _lists(row: Mapping[str, Any]) -> list[Answers]:
    found = []
    for column in sorted(row):
        words = key_of(column).split("_")
        value = row[column]
        if words[-1] in LISTS and isinstance(value, list | tuple) and value and (answers := _in_list(column, value)):
            found.append(answers)
    return found


def _in_list(column: str, value: Sequence[Any]) -> Answers | None:
    marks = tuple(map(str, range(len(value))))
    if all(isinstance(one, Mapping) for one in value):
        keys = [key for key in TEXTS if all(is_text(as_chat(one.get(key))) for one in value)]
        if keys:
            return Answers([as_chat(one[keys[0]]) for one in value], marks, (), frozenset([column]), value, keys[0])
        return None
    if all(is_text(as_chat(one)) for one in value):
        return Answers([as_chat(one) for one in value], marks, (), frozenset([column]))
    return None


def as_number(value: Any) -> float | None:
    """`value` as a number, also out of text; None where it is none."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
