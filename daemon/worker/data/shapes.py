"""Explains what is missing in a dataset whose rows no format has, and which setting would mend it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from prefd.daemon.worker.data.columns import columns_of
from prefd.daemon.worker.data.questions import WORDS, count_words
from prefd.daemon.worker.data.rows import DataError, Row
from prefd.plugins.formats.answers import Answers, find_answers
from prefd.plugins.formats.chats import as_chat
from prefd.plugins.formats.names import BETTER, key_of, side_of, words_of
from prefd.plugins.formats.prompt import answer_text
from prefd.plugins.formats.sides import CONVERSATIONS, named_sides
from prefd.plugins.formats.verdicts import BESIDE, LOSERS, VERDICTS, verdicts
from prefd.plugins.types import UnusableRow

OPPOSITES = (
    ("winner", "loser"),
    ("win", "lose"),
    ("win", "loss"),
    ("wins", "loses"),
    ("won", "lost"),
    ("w", "l"),
    ("good", "bad"),
    ("right", "wrong"),
    ("correct", "incorrect"),
    ("best", "worst"),
    ("positive", "negative"),
    ("pos", "neg"),
    ("liked", "disliked"),
)
"""Words of the names of a better and a worse answer, which are never read as such unasked."""


def check_columns(rows: Sequence[Row], where: str) -> None:
    """Raises `DataError` for a dataset none of whose rows have the columns of a pair."""
    columns = columns_of(rows)
    if named_sides(columns) or all(isinstance(row, UnusableRow) for row in rows):
        return
    if not columns:
        raise DataError(f"{where} has no columns: each row needs chosen and rejected (and prompt, or not)")
    raise DataError(f"{where} {_missing(rows, columns)}")


def _missing(rows: Sequence[Row], columns: Sequence[str]) -> str:
    first_row = next(row for row in rows if not isinstance(row, UnusableRow))
    if nested := _nested(rows, columns):
        return nested
    answers, verdict_columns, column_list = find_answers(first_row), verdicts(first_row), ", ".join(columns)
    if pair := _opposites(rows, columns, () if answers is None else answers.names):
        return (
            f"has {pair[0]!r} and {pair[1]!r}, which look like the better and the worse answer; its columns: {column_list}. "
            f"Where they are, name them (data.chosen_feature: {pair[0]}, data.rejected_feature: {pair[1]})"
        )
    if answers is not None and not verdict_columns:
        return (
            f"has {answers.listed}, and no column is known to say which is preferred; its columns: {column_list}. "
            + (_naming_winner(answers, columns))
        )
    for side, other in (("chosen", "rejected"), ("rejected", "chosen")):
        side_columns = [column for column in columns if side_of(column) == side]
        if len(side_columns) > 1:
            return (
                f"has {' and '.join(side_columns)}, which may each be the {side} answer; its columns: {column_list}. "
                f"Name the sides with data.chosen_feature and data.rejected_feature"
            )
        if len(side_columns) == 1 and side_columns[0] != side:
            return (
                f"has {side_columns[0]!r} for the {side} answer and none for the {other} one; its columns: {column_list}. "
                f"Name it with data.{other}_feature"
            )
    if verdict_columns and answers is None:
        return (
            f"has {' and '.join(map(repr, verdict_columns))}, which may say which answer is preferred, and no two columns are known "
            f"to be the answers; its columns: {column_list}. Call them answer_a and answer_b, and write a or b into {verdict_columns[0]!r}"
        )
    if list_columns := [
        column for column in columns if side_of(column) == "answer" and isinstance(first_row.get(column), list)
    ]:
        return (
            f"has lists of answers ({list_columns[0]!r}), and nothing says which of them is the better one; its columns: {column_list}. "
            "Put the answers into columns 'chosen' and 'rejected' (where the first is the better one, as in LLaMA-Factory's "
            "ranking data, that one into 'chosen'), or call the list 'answers' and put their scores into a list 'scores'"
        )
    if conversation_columns := [column for column in columns if key_of(column) in CONVERSATIONS]:
        return (
            f"is unpaired: it has one conversation a row ({conversation_columns[0]!r}) and no second answer; its columns: {column_list}. "
            "prefd's losses compare two answers to one prompt, a chosen and a rejected one"
        )
    missing = [name for name in ("chosen", "rejected") if name not in columns]
    near_columns = [
        column
        for name in missing
        for column in difflib.get_close_matches(name, columns, n=2)
        if _meaning(column) in (None, name)
    ]
    hint = f" Did you mean {' or '.join(map(repr, dict.fromkeys(near_columns)))}?" if near_columns else ""
    fields = " and ".join(f"data.{name}_feature" for name in missing)
    return f"has no column {' or '.join(map(repr, missing))}; its columns: {column_list}.{hint} Name the columns with {fields}"


def _nested(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Says where the rows or their columns are, where they stand one level deeper; "" where they do not."""
    usable = [row for row in rows if not isinstance(row, UnusableRow)]
    under = [column for column in columns if all(_is_row(row.get(column)) for row in usable)]
    if under:
        return f"has its columns under {under[0]!r}; write them as columns of the row itself"
    lists = [column for column in columns if isinstance(usable[0].get(column), list) and usable[0][column]]
    whole = [column for column in lists if len(usable) == 1 and all(map(_is_row, usable[0][column]))]
    return f"has its rows under {whole[0]!r}; write that list alone, or an object a line" if whole else ""


def _is_row(value: Any) -> bool:
    return isinstance(value, Mapping) and named_sides(value) is not None


def _naming_winner(answers: Answers, columns: Sequence[str]) -> str:
    """Explains how to say which of the answers is preferred, where the row's own mark of it cannot be read."""
    marks = [key for key in sorted({key for item in answers.items for key in item}) if _is_mark(key, answers)]
    if marks:
        return (
            f"{' and '.join(map(repr, marks))} of an answer may say it: give the preferred one a 'score' of 1 and the others 0, "
            "or put the texts into columns 'chosen' and 'rejected'"
        )
    losers = [column for column in columns if column not in answers.columns and _is_loser(column)]
    if losers:
        return (
            f"{' and '.join(map(repr, losers))} may say which is the worse one, and is never read as such: write the better "
            f"one's {'name (' + ' or '.join(answers.names) + ')' if answers.names else 'letter (A, B, …)'} into a column 'winner'"
        )
    return "Name the column that says it with data.winner_feature, or the one with each answer's score with data.score_feature"


def _is_mark(key: str, answers: Answers) -> bool:
    """Says whether a key of listed answers may mark the best of them: `selected`, `is_best`."""
    is_named = not (VERDICTS | BETTER).isdisjoint(words_of(key))
    return is_named and any(isinstance(item.get(key), bool) for item in answers.items)


def _is_loser(column: str) -> bool:
    words = set(words_of(column))
    return bool(words & LOSERS) and words <= LOSERS | BESIDE | VERDICTS


def _opposites(rows: Sequence[Row], columns: Sequence[str], answers: Sequence[str]) -> tuple[str, str] | None:
    """The only two columns that are named as opposites and hold answers; none where others are known to be the answers."""
    column_pairs = [
        (column, other)
        for column in columns
        for other in columns
        if any(_without(column, better) == _without(other, worse) is not None for better, worse in OPPOSITES)
    ]
    if len(column_pairs) != 1 or (answers and set(answers) != set(column_pairs[0])):
        return None
    usable = [row for row in rows if not isinstance(row, UnusableRow)]
    texts = [answer_text(as_chat(row.get(column))) for row in usable for column in column_pairs[0]]
    name_count = sum(bool(text.strip()) and count_words(text) < WORDS for text in texts)
    return column_pairs[0] if 2 * name_count <= len(texts) and any(map(str.strip, texts)) else None


def _without(column: str, word: str) -> tuple[str, ...] | None:
    """The words of a name but for `word`; None where it has it not, or more than once."""
    words = words_of(column)
    return tuple(other_word for other_word in words if other_word != word) if words.count(word) == 1 else None


def _meaning(column: str) -> str | None:
    words = words_of(column)
    if any(better in words for better, _ in OPPOSITES):
        return "chosen"
    return "rejected" if any(worse in words for _, worse in OPPOSITES) else None
