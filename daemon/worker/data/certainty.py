"""Refuses a dataset that can be read in more than one way, with the setting that says which one is meant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.beside_sides import check_listed_answers, check_other_sides, check_pieces
from prefd.daemon.worker.data.dataset import Dataset
from prefd.daemon.worker.data.questions import count_words, is_source, may_be_context, may_be_prompt
from prefd.daemon.worker.data.rows import DataError
from prefd.daemon.worker.data.unread import (
    check_tools,
    check_unread,
    find_settled_parts,
    guess_by_value,
    guess_part,
    is_already_read,
    texts_of,
)
from prefd.plugins.formats.chats import is_transcript
from prefd.plugins.formats.implicit_text import NO_PROMPT
from prefd.plugins.formats.names import words_of
from prefd.plugins.formats.prompt import is_blank
from prefd.plugins.formats.sides import named_sides
from prefd.plugins.types import Pair, UnclearRow

MANY = 0.1
"""The share of unclear rows from which on it is the dataset that is unclear."""
FEW_ROWS = 2
"""How many rows show nothing by having the same first words."""
FEW_WORDS = 6
"""How many words an answer may begin with as others do; a prompt of several pairs is mostly longer."""


def check_options(dataset: Dataset, spec: DataSpec) -> None:
    """Raises `DataError` for a column that only formats of several answers use; notes what else has no effect."""
    for key in ("winner_feature", "score_feature"):
        if getattr(spec, key) != "auto":
            raise DataError(
                f"data.{key}: {dataset.where.partition(': ')[2]} is in format {dataset.format}, which has one pair a row and no use "
                "for it; leave it out"
            )
    if spec.pairs != "best_worst":
        dataset.notes.append(f"data.pairs: {spec.pairs} has no effect: format {dataset.format} has one pair a row")


def check_repeats(dataset: Dataset, spec: DataSpec) -> None:
    """Moves rows to `unusable` that have something of a pair, or tools, in a column that was not read."""
    settled_parts = find_settled_parts(spec)
    columns = dict.fromkeys(column for row in dataset.named_rows.usable.values() for column in row)
    rows = dataset.named_rows.usable.values()
    guesses = {column: guess_part(column) or guess_by_value(column, rows) for column in columns}
    if dataset.format == "implicit_text":  # `check_implicit` asks whether they are the prompt itself
        guesses = {column: guess for column, guess in guesses.items() if guess != "turns"}
    parts = {column: part for column, part in guesses.items() if part and part not in settled_parts}
    pairs_by_row: dict[int, list[Pair]] = {}
    for number, pair in dataset.pairs:
        pairs_by_row.setdefault(number, []).append(pair)
    for number, pairs in pairs_by_row.items():
        row, columns_read = dataset.named_rows.usable[number], dataset.columns_read.get(number, set())
        try:
            check_unread(row, pairs, parts, columns_read)
            check_tools(row, columns_read, spec.ignore_columns)
            check_pieces(row, pairs, columns_read)
            if "answer" not in settled_parts:
                check_other_sides(row, pairs, columns_read)
                check_listed_answers(row, pairs, columns_read)
        except UnclearRow as reason:
            dataset.unusable.append((number, reason))
    unclear = {number for number, reason in dataset.unusable if isinstance(reason, UnclearRow)}
    dataset.pairs = [(number, pair) for number, pair in dataset.pairs if number not in unclear]


def check_contexts(dataset: Dataset, spec: DataSpec) -> None:
    """Moves rows to `unusable` that have beside their prompt what may belong to it."""
    if "prompt" in find_settled_parts(spec):
        return
    rows, columns_read = dataset.named_rows.usable, set[str]().union(*dataset.columns_read.values())
    prompt_columns = [
        column for column in dataset.named_rows.columns if column in columns_read and guess_part(column) == "prompt"
    ]
    rows_of_text = {number: rows[number] for number, _ in dataset.pairs if _is_one_text(rows[number], prompt_columns)}
    unread = [
        column
        for column in dataset.named_rows.columns
        if column not in columns_read and guess_part(column) is None and column not in spec.ignore_columns
    ]
    rows_of_messages = {number: rows[number] for number, _ in dataset.pairs if number not in rows_of_text}
    for group, context_columns in (
        (rows_of_text, may_be_context(list(rows_of_text.values()), unread)),
        (
            rows_of_messages,
            [column for column in may_be_context(list(rows_of_messages.values()), unread) if is_source(column)],
        ),
    ):
        if context_columns:
            _leave_out(dataset, group, context_columns, prompt_columns if group is rows_of_text else [])


def _leave_out(
    dataset: Dataset,
    rows: Mapping[int, Mapping[str, Any]],
    context_columns: Sequence[str],
    prompt_columns: Sequence[str],
) -> None:
    """Moves those of `rows` to `unusable` whose `context_columns` say what no pair of theirs does."""
    texts: dict[int, list[str]] = {}
    for number, pair in dataset.pairs:
        texts.setdefault(number, []).extend(texts_of(pair))
    columns_by_row = {
        number: [column for column in context_columns if not is_already_read(row.get(column), texts[number])]
        for number, row in rows.items()
    }
    columns = [
        column
        for column in context_columns
        if any(column in columns_of_row for columns_of_row in columns_by_row.values())
    ]
    joins = bool(prompt_columns) and all(
        isinstance(row.get(column), str | None) for row in rows.values() for column in columns
    )
    row_numbers = {number for number, columns_of_row in columns_by_row.items() if columns_of_row}
    dataset.unusable += [
        (number, UnclearRow(_joining(columns, prompt_columns, joins))) for number in sorted(row_numbers)
    ]
    dataset.pairs = [(number, pair) for number, pair in dataset.pairs if number not in row_numbers]


def _is_one_text(row: Mapping[str, Any], prompt_columns: Sequence[str]) -> bool:
    """Says whether the prompt is the text of a column, which others can be joined to."""
    values = [row.get(column) for column in prompt_columns if not is_blank(row.get(column))]
    return bool(values) and all(isinstance(value, str) and not is_transcript(value) for value in values)


def _joining(columns: Sequence[str], prompt_columns: Sequence[str], joins: bool) -> str:
    """Explains that columns may belong to the prompt, with the settings for either case."""
    ignore_setting = f"(data.ignore_columns: [{', '.join(columns)}])"
    are_several = len(columns) > 1
    problem = (
        f"{'the columns' if are_several else 'the column'} {' and '.join(map(repr, columns))} may belong to the prompt and "
        f"{'are' if are_several else 'is'} not read; "
    )
    pronoun = "them" if are_several else "it"
    if not joins:
        where = f"the column {prompt_columns[-1]!r}" if prompt_columns else "the prompt's messages"
        return problem + f"write {pronoun} into {where}, or leave {pronoun} out {ignore_setting}"
    order = sorted([*columns, *prompt_columns], key=lambda column: words_of(column)[-1:] == ("suffix",))
    return (
        problem + f"join {pronoun} (data.prompt_feature: [{', '.join(order)}]), or leave {pronoun} out {ignore_setting}"
    )


def refuse_unclear(dataset: Dataset) -> None:
    """Raises `DataError` where more than a few rows are unclear: then the dataset is."""
    unclear = [(number, str(reason)) for number, reason in dataset.unusable if isinstance(reason, UnclearRow)]
    if len(unclear) > MANY * len(dataset.named_rows.rows):
        message, _ = Counter(reason for _, reason in unclear).most_common(1)[0]
        rows = [number for number, reason in unclear if reason == message]
        raise DataError(f"{dataset.where}: {message} ({dataset.name_rows(rows)})")


def check_implicit(dataset: Dataset) -> None:
    """Raises `DataError` where the words that both sides begin with may not be the prompt; notes how many they are."""
    rows = list(dataset.named_rows.usable.values())
    columns_read = {column for columns in dataset.columns_read.values() for column in columns}
    columns_read |= set(named_sides(column for row in rows[:1] for column in row) or ())
    columns = [
        column
        for column in dataset.named_rows.columns
        if column not in columns_read and any(column in row for row in rows)
    ]
    if prompt_columns := may_be_prompt(rows, columns):
        raise DataError(
            f"{dataset.where}: no column is known to be the prompt, and {' or '.join(map(repr, prompt_columns))} may be it; name it "
            f"(data.prompt_feature: {prompt_columns[0]}), or, where both sides begin with their prompt, leave it out "
            f"(data.ignore_columns: [{', '.join(prompt_columns)}])"
        )
    rows_without_prompt = [number for number, reason in dataset.unusable if str(reason) == NO_PROMPT]
    if len(rows_without_prompt) > MANY * len(rows):
        raise DataError(
            f"{dataset.where}: in {len(rows_without_prompt)} of {len(rows)} rows the sides have no first words in common "
            f"({dataset.name_rows(rows_without_prompt)}): these are answers without their prompts; add a column 'prompt'"
        )
    _refuse_shared_words(dataset)
    words = sorted(len(str(pair.prompt).split()) for _, pair in dataset.pairs)
    if words:
        dataset.notes.append(
            f"no column is the prompt: it is the words that both sides begin with, {words[0]} to {words[-1]} of them "
            f"(median {words[len(words) // 2]})"
        )


def _refuse_shared_words(dataset: Dataset) -> None:
    """Raises `DataError` where most rows have the same few first words: those of an answer, and no prompt of each row."""
    texts = {tuple(map(str, (pair.prompt, pair.chosen, pair.rejected))) for _, pair in dataset.pairs}
    prompts = Counter(prompt.strip() for prompt, *_ in texts)
    words = sorted(map(count_words, prompts.elements()))
    if len(words) > FEW_ROWS and words[len(words) // 2] <= FEW_WORDS and 2 * len(prompts) < len(words):
        prompt, count = prompts.most_common(1)[0]
        raise DataError(
            f"{dataset.where}: the first words that both sides have are the same in many rows ({prompt[:40]!r} in {count} of "
            f"{len(words)} different ones), as where answers begin alike: these are answers without their prompts; add a column 'prompt'"
        )
