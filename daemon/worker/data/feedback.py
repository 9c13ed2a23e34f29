"""Reads single answers with a label, for losses that declare `unpaired`, and puts beside each an answer to another prompt.

From here on an answer travels as a pair does: the answer as `chosen`, the mismatched one as `rejected`, the label beside them. So
tokens, cache, batches and checkpoints need to know nothing of it. Which answer is the mismatched one is decided by the rows
alone: the last one before it, in the order of the rows, whose prompt is another; the first rows take it from the end. So the
reference's scores of it are cached, and adding rows at the end changes one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.text.wording import pluralize
from prefd.daemon.worker.data.columns import name_columns
from prefd.daemon.worker.data.dataset import Dataset, list_row_numbers
from prefd.daemon.worker.data.pairs import LoadedPairs
from prefd.daemon.worker.data.reading import detect_format, read_dataset
from prefd.daemon.worker.data.rows import DataError, Row
from prefd.daemon.worker.data.watched_row import WatchedRow
from prefd.plugins.errors import describe_exception
from prefd.plugins.types import Feedback, FeedbackFormat, Pair, RowFormat, Text, UnusableRow

UNPLACED = ""
"""Stands for the mismatched answer until all answers are read."""


def read_feedback(
    rows: Sequence[Row],
    spec: DataSpec,
    formats: Mapping[str, RowFormat],
    source: str,
    key: str,
    name_rows: Callable[[Sequence[int]], str] = list_row_numbers,
) -> Dataset:
    """Reads the answers of `rows`, or splits their pairs where the spec says so. Raises `DataError` for rows of another kind."""
    where = f"{key}: {source}"
    if spec.split_pairs:
        return split_pairs(read_dataset(rows, spec, formats, source, key, name_rows))
    named_rows = name_columns(rows, spec, source)
    name, matching = detect_format(named_rows.rows, formats)
    row_format = formats[name]
    if not isinstance(row_format, FeedbackFormat) or not any(matching):
        raise DataError(
            f"{where}: the loss learns from single answers with a label (prompt, completion, label), and these rows are not that; "
            "where they are pairs, set data.split_pairs: true, which makes two answers of each, the chosen one good and the "
            "other bad, or take a loss that compares pairs"
        )
    if spec.min_margin is not None:
        raise DataError(f"{where}: data.min_margin is of pairs, and these rows are single answers; leave it out")
    dataset = Dataset(where, name, named_rows, name_rows=name_rows)
    for number, row in enumerate(named_rows.rows, 1):
        try:
            if isinstance(row, UnusableRow):
                raise row
            feedback, columns = _read_row(row, row_format)
        except UnusableRow as reason:
            dataset.unusable.append((number, reason))
            continue
        except Exception as error:  # noqa: BLE001  # a plugin's fault, or a row it did not think of; the other rows may still be fine
            fault = UnusableRow(f"format {name!r} failed: {describe_exception(error)}")
            dataset.unusable.append((number, fault))
            continue
        dataset.pairs.append((number, place_feedback(feedback)))
        dataset.columns_read[number] = columns
    note_labels(dataset)
    return dataset


def _read_row(row: Mapping[str, Any], row_format: FeedbackFormat) -> tuple[Feedback, set[str]]:
    """Reads an answer, and names the columns it is made of: those that were looked up, where its format does not tell."""
    columns: Callable[[Mapping[str, Any]], Any] | None = getattr(row_format, "feedback_columns", None)
    if columns is not None:
        return row_format.feedback(row), set(columns(row))
    watched_row = WatchedRow(row)
    return row_format.feedback(watched_row), watched_row.columns_read


def place_feedback(feedback: Feedback) -> Pair:
    """Puts an answer into a pair whose other side is still open."""
    return Pair(
        feedback.prompt,
        feedback.completion,
        UNPLACED,
        feedback.tools,
        feedback.chat_template_kwargs,
        desirable=feedback.desirable,
    )


def split_pairs(dataset: Dataset) -> Dataset:
    """Makes two answers of each pair: the chosen one a good one, the rejected one a bad one. An answer in several pairs comes once."""
    answers: dict[tuple[bytes, bool], tuple[int, Pair]] = {}
    for number, pair in dataset.pairs:
        for text, desirable in ((pair.chosen, True), (pair.rejected, False)):
            single = replace(pair, chosen=text, rejected=UNPLACED, margin=None, desirable=desirable)
            answers.setdefault((_digest(single.prompt, text), desirable), (number, single))
    dataset.notes.append(f"{len(dataset.pairs)} pairs are split into single answers (data.split_pairs)")
    dataset.pairs[:] = answers.values()
    note_labels(dataset)
    return dataset


def note_labels(dataset: Dataset) -> None:
    """Notes how many answers are good ones, and which are called both good and bad."""
    labels: dict[bytes, dict[bool, int]] = {}
    for number, pair in dataset.pairs:
        labels.setdefault(_digest(pair.prompt, pair.chosen), {}).setdefault(bool(pair.desirable), number)
    good = sum(bool(pair.desirable) for _, pair in dataset.pairs)
    bad = len(dataset.pairs) - good
    dataset.notes.append(f"single answers with a label: {good} good, {bad} bad")
    if dataset.pairs and not (good and bad):
        only, other = ("good", "bad") if good else ("bad", "good")
        dataset.notes.append(
            f"all answers are {only} ones: nothing says what a {other} one is, and every answer is pushed the same way; are the "
            "labels read from the right column (data.label_feature)?"
        )
    if both := sorted(number for rows in labels.values() if len(rows) == 2 for number in rows.values()):
        dataset.notes.append(
            f"{pluralize(len(both) // 2, 'answer')} called good by one row and bad by another ({dataset.name_rows(both)})"
        )


def place_mismatched(loaded: LoadedPairs, key: str) -> None:
    """Puts beside each answer the last one before it that is to another prompt. Raises `DataError` where all share one prompt."""
    pairs = [pair for _, pair in loaded.pairs]
    prompts = [_digest(pair.prompt, "") for pair in pairs]
    if len(set(prompts)) < 2:
        raise DataError(
            f"{key}: {loaded.source}: all answers are to one prompt, and the loss compares with answers to others; give it more"
        )
    alike_from = [_find_run_starts(prompts), _find_run_starts([_digest("", pair.chosen) for pair in pairs])]
    for index, (row, pair) in enumerate(loaded.pairs):
        before = index - 1
        while prompts[before] == prompts[index] or not _is_another(pairs[before].chosen, pair.chosen):
            starts = alike_from[0 if prompts[before] == prompts[index] else 1]
            before -= 1 + before % len(pairs) - starts[before]
            if before < index - len(pairs):
                raise DataError(
                    f"{key}: {loaded.source}: no other prompt has another answer than {loaded.places[row - 1]}"
                )
        loaded.pairs[index] = (row, replace(pair, rejected=pairs[before].chosen))


def _find_run_starts(values: Sequence[bytes]) -> list[int]:
    """Find, for each value, where the run of equal ones begins that it stands in: a search goes over such a run in one step."""
    starts: list[int] = []
    for index, value in enumerate(values):
        starts.append(starts[-1] if index and value == values[index - 1] else index)
    return starts


def _is_another(text: Text, other: Text) -> bool:
    """Says whether two answers differ and are written alike, as text or as messages."""
    return isinstance(text, str) is isinstance(other, str) and text != other


def _digest(prompt: Any, answer: Any) -> bytes:
    text = json.dumps([prompt, answer], sort_keys=True, default=str)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
