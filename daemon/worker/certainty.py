"""Refuses a dataset of which it is not certain what is meant, with the setting that says it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from prefd.daemon.dataspec import DataSpec
from prefd.daemon.worker.dataset import Dataset
from prefd.daemon.worker.questions import is_source, may_be_context, may_be_prompt
from prefd.daemon.worker.rows import DataError
from prefd.daemon.worker.unread import check_tools, check_unread, looks_like, says_again, settled, texts_of
from prefd.plugins.formats.chats import is_transcript
from prefd.plugins.formats.implicit_text import NO_PROMPT
from prefd.plugins.formats.names import words_of
from prefd.plugins.formats.prompt import is_blank
from prefd.plugins.formats.sides import named_sides
from prefd.plugins.types import Pair, UnclearRow

MANY = 0.1
"""The share of unclear rows from which on it is the dataset that is unclear."""


def check_options(made: Dataset, spec: DataSpec) -> None:
    """Raises `DataError` for a column that only formats of several answers can honour; says what else has no effect."""
    for key in ("winner_feature", "score_feature"):
        if getattr(spec, key) != "auto":
            raise DataError(
                f"data.{key}: {made.where.partition(': ')[2]} is in format {made.format}, which has one pair a row and no use "
                "for it; leave it out"
            )
    if spec.pairs != "best_worst":
        made.notes.append(f"data.pairs: {spec.pairs} has no effect: format {made.format} has one pair a row")


def check_repeats(made: Dataset, spec: DataSpec) -> None:
    """Moves rows to `unusable` that have something of a pair, or tools, in a column that was not read."""
    certain = settled(spec)
    columns = {column: looks_like(column) for row in made.named.usable.values() for column in row}
    parts = {column: part for column, part in columns.items() if part and part not in certain}
    of_row: dict[int, list[Pair]] = {}
    for number, pair in made.pairs:
        of_row.setdefault(number, []).append(pair)
    for number, pairs in of_row.items():
        try:
            check_unread(made.named.usable[number], pairs, parts, made.read.get(number, set()))
            check_tools(made.named.usable[number], made.read.get(number, set()), spec.ignore_columns)
        except UnclearRow as reason:
            made.unusable.append((number, reason))
    unclear = {number for number, reason in made.unusable if isinstance(reason, UnclearRow)}
    made.pairs = [(number, pair) for number, pair in made.pairs if number not in unclear]


def check_contexts(made: Dataset, spec: DataSpec) -> None:
    """Moves rows to `unusable` that say beside their prompt what may belong to it."""
    if "prompt" in settled(spec):
        return
    rows, read = made.named.usable, set[str]().union(*made.read.values())
    asked = [column for column in made.named.columns if column in read and looks_like(column) == "prompt"]
    alone = {number: rows[number] for number, _ in made.pairs if _is_one_text(rows[number], asked)}
    unread = [c for c in made.named.columns if c not in read and looks_like(c) is None and c not in spec.ignore_columns]
    whole = {number: rows[number] for number, _ in made.pairs if number not in alone}
    for some, found in (
        (alone, may_be_context(list(alone.values()), unread)),
        (whole, [column for column in may_be_context(list(whole.values()), unread) if is_source(column)]),
    ):
        if found:
            _leave_out(made, some, found, asked if some is alone else [])


def _leave_out(
    made: Dataset, rows: Mapping[int, Mapping[str, Any]], found: Sequence[str], asked: Sequence[str]
) -> None:
    """Moves those of `rows` to `unusable` whose `found` columns say what no pair of theirs does."""
    texts: dict[int, list[str]] = {}
    for number, pair in made.pairs:
        texts.setdefault(number, []).extend(texts_of(pair))
    own = {
        number: [column for column in found if not says_again(row.get(column), texts[number])]
        for number, row in rows.items()
    }
    columns = [column for column in found if any(column in of for of in own.values())]
    joins = bool(asked) and all(isinstance(row.get(column), str | None) for row in rows.values() for column in columns)
    lost = {number for number, of in own.items() if of}
    made.unusable += [(number, UnclearRow(_joining(columns, asked, joins))) for number in sorted(lost)]
    made.pairs = [(number, pair) for number, pair in made.pairs if number not in lost]


def _is_one_text(row: Mapping[str, Any], asked: Sequence[str]) -> bool:
    """Whether the prompt is the text of a column, which others can be joined to."""
    values = [row.get(column) for column in asked if not is_blank(row.get(column))]
    return bool(values) and all(isinstance(value, str) and not is_transcript(value) for value in values)


def _joining(columns: Sequence[str], asked: Sequence[str], joins: bool) -> str:
    """What is said of columns that may belong to the prompt, and the settings for either case."""
    left = f"(data.ignore_columns: [{', '.join(columns)}])"
    several = len(columns) > 1
    said = (
        f"{'the columns' if several else 'the column'} {' and '.join(map(repr, columns))} may belong to the prompt and "
        f"{'are' if several else 'is'} not read; "
    )
    them = "them" if several else "it"
    if not joins:
        where = f"the column {asked[-1]!r}" if asked else "the prompt's messages"
        return said + f"write {them} into {where}, or leave {them} out {left}"
    order = sorted([*columns, *asked], key=lambda column: words_of(column)[-1:] == ("suffix",))
    return said + f"join {them} (data.prompt_feature: [{', '.join(order)}]), or leave {them} out {left}"


def refuse_unclear(made: Dataset) -> None:
    """Raises `DataError` where more than a few rows are unclear: then the dataset is."""
    unclear = [(number, str(reason)) for number, reason in made.unusable if isinstance(reason, UnclearRow)]
    if len(unclear) > MANY * len(made.named.rows):
        message, _ = Counter(reason for _, reason in unclear).most_common(1)[0]
        rows = [number for number, reason in unclear if reason == message]
        raise DataError(f"{made.where}: {message} ({made.name_rows(rows)})")


def check_implicit(made: Dataset) -> None:
    """Raises `DataError` where the words that both sides begin with may not be the prompt; says how many they are."""
    rows = list(made.named.usable.values())
    read = {column for columns in made.read.values() for column in columns}
    read |= set(named_sides(column for row in rows[:1] for column in row) or ())
    columns = [column for column in made.named.columns if column not in read and any(column in row for row in rows)]
    if others := may_be_prompt(rows, columns):
        raise DataError(
            f"{made.where}: no column is known to be the prompt, and {' or '.join(map(repr, others))} may be it; name it "
            f"(data.prompt_feature: {others[0]}), or, where both sides begin with their prompt, leave it out "
            f"(data.ignore_columns: [{', '.join(others)}])"
        )
    bare = [number for number, reason in made.unusable if str(reason) == NO_PROMPT]
    if len(bare) > MANY * len(rows):
        raise DataError(
            f"{made.where}: in {len(bare)} of {len(rows)} rows the sides have no first words in common "
            f"({made.name_rows(bare)}): these are answers without their prompts; add a column 'prompt'"
        )
    words = sorted(len(str(pair.prompt).split()) for _, pair in made.pairs)
    if words:
        made.notes.append(
            f"no column is the prompt: it is the words that both sides begin with, {words[0]} to {words[-1]} of them "
            f"(median {words[len(words) // 2]})"
        )
