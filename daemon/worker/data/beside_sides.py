"""Checks the columns beside the two sides that nobody read: parts of one side, the sides the other way round, rows that are held out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from prefd.daemon.specs.data_files import SPLIT_NAMES
from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.dataset import Dataset
from prefd.daemon.worker.data.questions import texts_in
from prefd.daemon.worker.data.rows import DataError
from prefd.daemon.worker.data.unread import texts_of
from prefd.plugins.formats.answers import find_answers
from prefd.plugins.formats.chats import as_chat, squeeze_blanks
from prefd.plugins.formats.fields import is_text
from prefd.plugins.formats.labels import label_name
from prefd.plugins.formats.names import ANSWERS, BETTER, LISTS, WORSE, side_of, words_of
from prefd.plugins.formats.prompt import answer_text, is_blank, repeats
from prefd.plugins.formats.sides import named_sides
from prefd.plugins.types import Pair, UnclearRow

PIECES = frozenset(
    [
        "reasoning",
        "thinking",
        "think",
        "thought",
        "thoughts",
        "cot",
        "scratchpad",
        "tool",
        "tools",
        "call",
        "calls",
        "prompt",
        "question",
        "query",
        "instruction",
        "system",
        "history",
        "context",
        "prefix",
        "suffix",
        "prefill",
    ]
)
"""Words of what belongs to a side, beside the word that says which side."""
PREFILLS = frozenset(["prefill", "prefilled"])
"""Last words of what both answers begin with; `prefix` is it beside a word for an answer."""


def check_pieces(row: Mapping[str, Any], pairs: Sequence[Pair], columns_read: Collection[str]) -> None:
    """Raises `UnclearRow` for a column that was not read and holds a part of a side, as `chosen_thinking` does."""
    texts = [text for pair in pairs for text in texts_of(pair)]
    for column, value in row.items():
        if column in columns_read or is_blank(value) or not _is_piece(column):
            continue
        if is_text(as_chat(value)) and repeats(value, texts):
            continue
        if not texts_in(value):
            continue
        raise UnclearRow(
            f"the column {column!r} looks like a part of an answer or its prompt and is not read; write it where it belongs in "
            f"both sides, or leave it out (data.ignore_columns: [{column}])"
        )


def _is_piece(column: str) -> bool:
    words = words_of(column)
    others = [word for word in words if word not in BETTER | WORSE]
    if len(others) == len(words) - 1 and others and set(others) <= PIECES | ANSWERS:
        return not PIECES.isdisjoint(others)
    is_answers = not (ANSWERS | {"assistant"}).isdisjoint(words)
    return bool(words) and (words[-1] in PREFILLS or (words[-1] == "prefix" and is_answers))


def check_other_sides(row: Mapping[str, Any], pairs: Sequence[Pair], columns_read: Collection[str]) -> None:
    """Raises `UnclearRow` for a column that was not read and by its name is a side, and has the text of the other one."""
    sides = named_sides(columns_read)
    if sides is None or not pairs:
        return
    chosen, rejected = (
        {squeeze_blanks(answer_text(getattr(pair, side))) for pair in pairs} for side in ("chosen", "rejected")
    )
    for column, value in row.items():
        if column in columns_read or not is_text(as_chat(value)):
            continue
        others = {"chosen": rejected - chosen, "rejected": chosen - rejected}.get(side_of(column) or "", set())
        if (text := squeeze_blanks(answer_text(as_chat(value)))) in others - {""}:
            raise UnclearRow(
                f"the column {column!r} is by its name the {side_of(column)} answer, and has the other one's text ({text[:40]!r}); name "
                f"the sides' columns (data.chosen_feature: {sides[0]}, data.rejected_feature: {sides[1]}), or leave it out "
                f"(data.ignore_columns: [{column}])"
            )


def check_listed_answers(row: Mapping[str, Any], pairs: Sequence[Pair], columns_read: Collection[str]) -> None:
    """Raises `UnclearRow` for a list of answers that was not read and of which neither side is one."""
    sides = named_sides(columns_read)
    if sides is None or not pairs:
        return
    texts = {squeeze_blanks(answer_text(side)) for pair in pairs for side in (pair.chosen, pair.rejected)}
    texts |= {
        squeeze_blanks(answer_text(as_chat(row[side]))) for side in sides
    }  # with the prompt that it may begin with
    for column in row:
        if column in columns_read or LISTS.isdisjoint(words_of(column)[-1:]):
            continue
        answers = find_answers({column: row[column]})
        if answers is not None and texts.isdisjoint(squeeze_blanks(answer_text(text)) for text in answers.texts):
            raise UnclearRow(
                f"the column {column!r} is a list of answers, and neither {sides[0]} nor {sides[1]} is one of them; where it is "
                f"what is meant, leave the sides out (data.ignore_columns: [{', '.join(sides)}]), else leave out the list "
                f"(data.ignore_columns: [{column}])"
            )


def check_split_column(dataset: Dataset, spec: DataSpec) -> None:
    """Raises `DataError` for a column by which some of the rows are held out: all of them would be trained on."""
    rows = dataset.named_rows.usable.values()
    for column in dataset.named_rows.columns:
        if words_of(column)[-1:] != ("split",) or column in spec.ignore_columns:
            continue
        labels = {str(label_name(row.get(column))) for row in rows if not is_blank(row.get(column))}
        held_out = sorted(label for label in labels if _names(label, "validation", "test"))
        if held_out and any(_names(label, "train") for label in labels):
            listed = ", ".join(sorted(labels)[:5])
            raise DataError(
                f"{dataset.where}: the column {column!r} says that rows are of several splits ({listed}), and all would be trained "
                f"on; write those of {held_out[0]!r} into a file of their own (data.validation), or leave the column out "
                f"(data.ignore_columns: [{column}])"
            )


def _names(label: str, *splits: str) -> bool:
    words = set(words_of(label))
    return any(not words.isdisjoint(SPLIT_NAMES[split]) for split in splits)
