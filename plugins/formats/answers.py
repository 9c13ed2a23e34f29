"""Finds the answers to one prompt that stand in one row: in numbered columns, or in a list."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prefd.plugins.formats.chats import as_chat
from prefd.plugins.formats.fields import is_text, kind_of
from prefd.plugins.formats.names import LISTS, key_of, words_of
from prefd.plugins.formats.numbering import is_answer_base, numbered_columns
from prefd.plugins.formats.prompt import is_blank
from prefd.plugins.types import UnusableRow

TEXTS = ("response", "answer", "text", "completion", "output", "content", "generation", "summary")
"""Keys of the answer's text in a list of objects."""
ASIDE = frozenset(["correct", "incorrect", "reference", "references", "gold", "golden", "truth", "target", "wrong"])
"""Words of lists that stand beside the answers, as UltraFeedback's `correct_answers`, to judge them by."""


class Answers(NamedTuple):
    """Answers holds at least two answers of one row, and what tells them apart."""

    texts: Sequence[Any]
    marks: tuple[str, ...]
    """What tells them apart: the ends of their columns' names, or places in the list from 0."""
    names: tuple[str, ...]
    """The answers' columns; none for a list."""
    columns: frozenset[str]
    items: Sequence[Mapping[str, Any]] = ()
    """What a list's objects say of each answer."""
    key: str = ""
    """The key of an answer's text in `items`."""
    every: tuple[str, ...] = ()
    """The marks of all columns of their name, also of those that hold nothing in this row.

    Of one kind, where those in `marks` are: an empty `response_0` is none of the answers beside `response_a`.
    """

    @property
    def listed(self) -> str:
        """Names the answers in words."""
        return " and ".join(self.names) or f"the answers of {min(self.columns)}"


def find_answers(row: Mapping[str, Any]) -> Answers | None:
    """Finds the answers of `row`; None where there are not two, or more than one set of them."""
    answer_sets = [answers for answers in (*_numbered(row), *_lists(row)) if len(answers.texts) > 1]
    answer_sets = [answers for answers in answer_sets if answers.names or not _is_aside(min(answers.columns))]
    return answer_sets[0] if len(answer_sets) == 1 else None


def why_none(row: Mapping[str, Any], format_name: str) -> UnusableRow:
    """Explains why a row has no answers, in a dataset whose rows have some."""
    for base, columns in numbered_columns(row).items():
        for column in columns.values():
            if is_answer_base(base) and not is_text(as_chat(row[column])):
                return UnusableRow(f"wrong types: {column} is {kind_of(row[column])}, not text or chat messages")
    for column in sorted(row):
        if _is_list(column, row[column]) and not _is_aside(column) and (reason := _why_no_text(column, row[column])):
            return reason
    return UnusableRow(f"not in the dataset's format ({format_name})")


def _is_aside(column: str) -> bool:
    return not ASIDE.isdisjoint(words_of(column))


def _is_list(column: str, value: Any) -> bool:
    return key_of(column).split("_")[-1] in LISTS and isinstance(value, list | tuple)


def _why_no_text(column: str, value: Sequence[Any]) -> UnusableRow | None:
    """Says which answer of a list is no text; None where each is one."""
    if len(value) < 2:
        return UnusableRow(f"{column} has fewer than two answers")
    for place, answer in enumerate(value, 1):
        text = as_chat(answer)
        if isinstance(answer, Mapping) and not is_text(text):
            key = next((key for key in TEXTS if any(isinstance(item, Mapping) and key in item for item in value)), None)
            if key is None:
                continue
            text = as_chat(answer.get(key))
        if not is_text(text):
            return UnusableRow(f"wrong types: answer {place} of {column} is {kind_of(text)}, not text or chat messages")
    return None


def _numbered(row: Mapping[str, Any]) -> list[Answers]:
    answer_sets = []
    for base, all_columns in numbered_columns(row).items():
        # The marks stay as they are named, also where a column between holds nothing.
        columns = {mark: column for mark, column in all_columns.items() if not is_blank(row[column])}
        if is_answer_base(base) and columns and all(is_text(as_chat(row[column])) for column in columns.values()):
            texts = [as_chat(row[column]) for column in columns.values()]
            names = tuple(columns.values())
            kinds = {mark.isdigit() for mark in columns}
            marks = tuple(mark for mark in all_columns if mark.isdigit() in kinds)
            answer_sets.append(Answers(texts, tuple(columns), names, frozenset(names), every=marks))
    return answer_sets


def _lists(row: Mapping[str, Any]) -> list[Answers]:
    answer_sets = []
    for column in sorted(row):
        value = row[column]
        if _is_list(column, value) and value and (answers := _in_list(column, value)):
            answer_sets.append(answers)
    return answer_sets


def _in_list(column: str, value: Sequence[Any]) -> Answers | None:
    marks = tuple(map(str, range(len(value))))
    if all(isinstance(answer, Mapping) for answer in value):
        keys = [key for key in TEXTS if all(is_text(as_chat(answer.get(key))) for answer in value)]
        if keys:
            return Answers(
                [as_chat(answer[keys[0]]) for answer in value], marks, (), frozenset([column]), value, keys[0]
            )
        return None
    if all(is_text(as_chat(answer)) for answer in value):
        return Answers([as_chat(answer) for answer in value], marks, (), frozenset([column]))
    return None


def as_number(value: Any) -> float | None:
    """Reads `value` as a number, also out of text; None where it is none."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
