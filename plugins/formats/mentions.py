"""Finds the answer that a text names: its own words, who wrote it, its column, its letter or number, or `A>B`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from prefd.plugins.formats.answers import Answers
from prefd.plugins.formats.ballot import Ballot, suggest_remedy
from prefd.plugins.formats.chats import squeeze_blanks
from prefd.plugins.formats.metadata import is_metadata
from prefd.plugins.formats.names import key_of, words_of
from prefd.plugins.formats.naming import FIRST, LETTERS, SECOND, mark_in
from prefd.plugins.formats.numbering import numbered_columns
from prefd.plugins.formats.prompt import answer_text
from prefd.plugins.formats.verdicts import BESIDE
from prefd.plugins.types import UnclearRow, UnusableRow

TIES = frozenset(["tie", "ties", "tied", "draw", "equal", "same", "both", "neither", "none", "bothbad", "bad", "good"])
COMPARED = re.compile(r"\W*([A-Za-z0-9])\s*(>+|<+|=+)\s*([A-Za-z0-9])\W*")


def find_by_text(ballot: Ballot, value: str, row: Mapping[str, Any], answers: Answers) -> int:
    """Finds the place of the winner by a text. Raises `UnusableRow` for a tie, `UnclearRow` where it names several."""
    words = words_of(value)
    models = _by_model(value, row, answers)
    if len(models) > 1:
        raise UnusableRow(
            f"{ballot.name} {value[:40]!r} is who wrote {' and '.join(answers.names)}: it names no one answer"
        )
    texts = [place for place, text in enumerate(answers.texts) if _folded(answer_text(text)) == _folded(value)]
    places: set[int] = {*models, *(texts if len(texts) == 1 else ()), *_by_mark(ballot, value, words, answers)}
    if len(places) > 1:
        raise UnclearRow(
            f"{ballot.name} {value[:40]!r} is the text or the writer of one answer and the letter of another; {suggest_remedy(answers)}"
        )
    if places:
        return places.pop()
    if compared := COMPARED.fullmatch(value.strip()):
        return _by_comparison(compared, ballot, answers)
    if words and set(words) <= TIES:
        raise UnusableRow(f"a tie: {ballot.name} is {value!r}")
    raise UnusableRow(f"{ballot.name} {value[:40]!r} is none of {answers.listed}")


def _folded(text: str) -> str:
    return squeeze_blanks(text).casefold()


def _by_mark(ballot: Ballot, value: str, words: Sequence[str], answers: Answers) -> list[int]:
    """By the name of its column, its letter or number, or as the first or second. Raises `UnclearRow` if not certain."""
    all_marks, mark = answers.every or answers.marks, mark_in(value)
    digits = bool(answers.names) and all(numbered_mark.isdigit() for numbered_mark in all_marks)
    if digits and mark and not _counts_alike(ballot, value, mark, all_marks, answers):
        raise UnclearRow(
            f"{ballot.name} {value[:40]!r} may count otherwise than {answers.listed} do; {suggest_remedy(answers)}"
        )
    if named_places := [place for place, name in enumerate(answers.names) if key_of(name) == "_".join(words)]:
        return named_places
    if mark:
        if not answers.names or (digits and mark.isalpha()):
            mark = dict(zip(LETTERS, all_marks)).get(mark, "")
        return [answers.marks.index(mark)] if mark in answers.marks else []
    if len(answers.texts) == 2 and words and set(words[1:]) <= BESIDE and words[0] in FIRST | SECOND:
        return [0 if words[0] in FIRST else 1]
    return []


def _counts_alike(ballot: Ballot, value: str, mark: str, all_marks: Sequence[str], answers: Answers) -> bool:
    """Says whether a letter or number of the texts is one of answers that are numbered as `every`."""
    if mark.isalpha():
        return _is_count(all_marks)
    numbers = {text_mark for text_mark in ballot.answer_marks if text_mark.isdigit()} | {mark}
    return numbers <= set(all_marks) and ("0" not in all_marks or "0" in numbers or value.strip() in answers.names)


def _is_count(marks: Sequence[str]) -> bool:
    """Says whether numbers follow each other from 0 or from 1 on."""
    return sorted(map(int, marks)) in (list(range(len(marks))), list(range(1, len(marks) + 1)))


def _by_comparison(compared: re.Match[str], ballot: Ballot, answers: Answers) -> int:
    """`A>B`, `A<<B`, `A=B`."""
    first, sign, second = (compared[group].lower() for group in (1, 2, 3))
    if "=" in sign or {first, second} != set(answers.marks):
        if sign.strip("="):
            raise UnusableRow(f"{ballot.name} {compared[0]!r} is none of {answers.listed}")
        raise UnusableRow(f"a tie: {ballot.name} is {compared[0]!r}")
    return answers.marks.index(first if ">" in sign else second)


def _by_model(value: str, row: Mapping[str, Any], answers: Answers) -> list[int]:
    """By who wrote it, where columns as `model_a` say that."""
    models = numbered_columns(column for column in row if is_metadata(column)).get(("model",), {})
    return [place for place, mark in enumerate(answers.marks) if mark in models and row[models[mark]] == value]
