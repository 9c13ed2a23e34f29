"""Recognises sides that name an answer, by its letter, place, id or column, and are no answer themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prefd.plugins.formats.answers import Answers, find_answers
from prefd.plugins.formats.chats import as_chat, is_transcript, squeeze_blanks
from prefd.plugins.formats.fields import is_text
from prefd.plugins.formats.metadata import is_metadata
from prefd.plugins.formats.names import PROMPTS, key_of, side_of, words_of
from prefd.plugins.formats.naming import FIRST, LETTERS, NAMING, SECOND
from prefd.plugins.formats.numbering import numbered_columns
from prefd.plugins.formats.prompt import answer_text
from prefd.plugins.formats.sides import Sides
from prefd.plugins.formats.verdicts import BESIDE
from prefd.plugins.types import UnclearRow

CHOICE = frozenset(["option", "choice", "alternative"])
"""Words of numbered columns that say what may be answered."""
CHOICES = frozenset(["options", "choices", "alternatives"])
"""Words of lists of what may be answered, which make no pair by themselves."""


def names_of_answers(row: Mapping[str, Any], sides: Sides) -> UnclearRow | None:
    """Explains why `sides` may be no answers but the names of some; None where it is certain that they are answers."""
    chosen, rejected = map(_last_words, (sides.chosen, sides.rejected))
    if not chosen or not rejected or len(words_of(chosen)) > 4 or len(words_of(rejected)) > 4:
        return None
    other_columns = {column: value for column, value in row.items() if column not in sides.columns}
    answers = find_answers(other_columns)
    candidates = answers or _choices(other_columns)
    if candidates is None:
        return None
    places_of_sides = [_places(candidates, other_columns, side) for side in (chosen, rejected)]
    if not all(places_of_sides) or all(
        _is_certain(candidates, side, places_of_side)
        for side, places_of_side in zip((chosen, rejected), places_of_sides)
    ):
        return None
    lists = ", ".join(sorted(candidates.columns))
    winner = (
        ""
        if answers is None
        else f"where they name them, leave the losing side out (data.ignore_columns: [{_worse(sides)}]), or "
    )
    return UnclearRow(
        f"the sides are {chosen!r} and {rejected!r}, which may name {candidates.listed}; {winner}write the answers' texts "
        f"into them; where they are the answers themselves, leave the others out (data.ignore_columns: [{lists}])"
    )


def _last_words(side: Any) -> str:
    """Says what a side answers, without the turns before it."""
    text = answer_text(side) if is_text(side) else ""
    return (text.rpartition("Assistant:")[2] if is_transcript(text) else text).strip()


def _worse(sides: Sides) -> str:
    return next((column for column in sorted(sides.columns) if side_of(column) == "rejected"), "rejected")


def _choices(row: Mapping[str, Any]) -> Answers | None:
    """Says what may be answered, in columns or a list that are no answers to make pairs of."""
    letters = {column.lower(): column for column in sorted(row) if len(column) == 1 and column.isalpha()}
    numbered = [columns for base, columns in numbered_columns(row).items() if base[-1] in CHOICE]
    for columns in (*numbered, *([letters] if {"a", "b"} <= letters.keys() else [])):
        names = tuple(columns.values())
        return Answers([row[column] for column in names], tuple(columns), names, frozenset(names))
    for column in sorted(row):
        value = row[column]
        if not CHOICES.isdisjoint(words_of(column)) and isinstance(value, list | tuple | Mapping) and len(value) > 1:
            texts = list(value.values()) if isinstance(value, Mapping) else list(value)
            marks = tuple(map(str, value if isinstance(value, Mapping) else range(len(value))))
            return Answers(texts, marks, (), frozenset([column]))
    for column in sorted(row):
        value = row[column]
        is_list_of_texts = (
            isinstance(value, list | tuple) and len(value) > 1 and all(isinstance(text, str) for text in value)
        )
        if is_list_of_texts and not is_metadata(column) and key_of(column) not in PROMPTS:
            return Answers(value, tuple(map(str, range(len(value)))), (), frozenset([column]))
    return None


def _places(answers: Answers, row: Mapping[str, Any], side: str) -> set[int]:
    """The answers that `side` may name."""
    words, count = words_of(side), len(answers.texts)
    places = {place for place, names in enumerate(_names(answers, row)) if side in names}
    places |= {place for place, name in enumerate(answers.names) if key_of(name) == "_".join(words)}
    if words and set(words[:-1]) <= NAMING:
        last = words[-1]
        places |= {place for place, mark in enumerate(answers.marks) if mark.lower() == last}
        places |= {place for place in range(count) if last in (LETTERS[place : place + 1], str(place), str(place + 1))}
    if words and words[0] in FIRST | SECOND and set(words[1:]) <= BESIDE:
        places.add(0 if words[0] in FIRST else 1)
    return places


def _names(answers: Answers, row: Mapping[str, Any]) -> Iterator[set[str]]:
    """Says what else than its text stands for each answer: its id, its model."""
    columns = numbered_columns(column for column in row if is_metadata(column)).values()
    lists: Sequence[Any] = [
        item_value for column, item_value in row.items() if column not in answers.columns and is_metadata(column)
    ]
    lists = [
        item_value
        for item_value in lists
        if isinstance(item_value, list | tuple) and len(item_value) == len(answers.texts)
    ]
    for place, mark in enumerate(answers.marks):
        item = answers.items[place] if answers.items else {}
        values = [item_value for key, item_value in item.items() if key != answers.key]
        values += [row[marks[mark]] for marks in columns if mark in marks] + [item_value[place] for item_value in lists]
        yield {str(item_value) for item_value in values if isinstance(item_value, str | int)}


def _is_certain(answers: Answers, side: str, places: set[int]) -> bool:
    """Says whether `side` is the very text of an answer, and names no other one."""
    texts = {
        place
        for place, text in enumerate(answers.texts)
        if is_text(as_chat(text)) and squeeze_blanks(answer_text(as_chat(text))) == squeeze_blanks(side)
    }
    return bool(texts) and places <= texts
