"""Reads rows as pairs, by the one format that the dataset has, and accounts for every column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.beside_sides import check_split_column
from prefd.daemon.worker.data.certainty import (
    check_contexts,
    check_implicit,
    check_options,
    check_repeats,
    refuse_unclear,
)
from prefd.daemon.worker.data.columns import NamedRows, name_columns
from prefd.daemon.worker.data.dataset import Dataset, list_row_numbers
from prefd.daemon.worker.data.judgements import check_judgements
from prefd.daemon.worker.data.margins import apply_scores
from prefd.daemon.worker.data.python_cells import check_python_cells, find_python_cells, python_cells_error
from prefd.daemon.worker.data.repeated import note_repeated_pairs
from prefd.daemon.worker.data.rows import DataError, Row
from prefd.daemon.worker.data.shapes import check_columns
from prefd.daemon.worker.data.side_marks import note_side_marks
from prefd.daemon.worker.data.watched_row import WatchedRow
from prefd.daemon.worker.data.wrapped_answers import check_wrapped
from prefd.plugins.errors import describe_exception
from prefd.plugins.formats.fields import is_text
from prefd.plugins.formats.implicit_text import ImplicitText
from prefd.plugins.types import DatasetFormat, Pair, Reading, RowFormat, UnusableRow

NEARLY_ALL = 0.9
UNMATCHED = "explicit"
"""The format whose words are used where no format has the rows."""


def read_dataset(
    rows: Sequence[Row],
    spec: DataSpec,
    formats: Mapping[str, RowFormat],
    source: str,
    key: str,
    name_rows: Callable[[Sequence[int]], str] = list_row_numbers,
) -> Dataset:
    """Reads the pairs of `rows`. `source`, `key` and `name_rows` are for messages.

    Raises `DataError` where it is not certain what is meant.
    """
    named_rows, where = name_columns(rows, spec, source), f"{key}: {source}"
    try:
        dataset = _read_certain(named_rows, spec, formats, where, name_rows)
    except DataError as error:
        for column, numbers in find_python_cells(named_rows).items():  # what it looks like to the formats misleads
            raise python_cells_error(where, named_rows, column, name_rows(numbers)) from error
        raise
    check_python_cells(dataset)
    apply_scores(dataset, spec)
    note_side_marks(dataset)
    note_repeated_pairs(dataset)
    return dataset


def _read_certain(
    named_rows: NamedRows,
    spec: DataSpec,
    formats: Mapping[str, RowFormat],
    where: str,
    name_rows: Callable[[Sequence[int]], str],
) -> Dataset:
    """Reads the pairs by the format that the rows have. Raises `DataError` where it is not certain what is meant."""
    name, matching = detect_format(named_rows.rows, formats)
    if not any(matching):
        check_columns(named_rows.rows, where)
    row_format = formats[name]
    reading = _read_rows(named_rows, name, matching, row_format, where)
    dataset = Dataset(
        where, name, named_rows, reading.pairs, reading.unusable, reading.columns, reading.notes, name_rows
    )
    if not isinstance(row_format, DatasetFormat):
        check_options(dataset, spec)
    if isinstance(row_format, DatasetFormat) or hasattr(row_format, "columns"):
        check_repeats(dataset, spec)
        check_contexts(dataset, spec)
        check_judgements(dataset, spec)
    check_split_column(dataset, spec)
    refuse_unclear(dataset)
    check_wrapped(dataset, spec)
    if isinstance(row_format, ImplicitText):
        check_implicit(dataset)
    return dataset


def detect_format(rows: Sequence[Row], formats: Mapping[str, RowFormat]) -> tuple[str, list[bool]]:
    """Finds the format of all `rows` together, and which of them have it.

    Formats are registered from general to special: the last that matches nearly as many rows as any other is taken, so
    that a few odd rows among transcripts do not turn every transcript into plain text.
    """
    matching = {
        name: [not isinstance(row, UnusableRow) and row_format.matches(row) for row in rows]
        for name, row_format in formats.items()
    }
    most = max(map(sum, matching.values()), default=0)
    if most == 0 and UNMATCHED in matching:
        return UNMATCHED, matching[UNMATCHED]
    best = next(name for name in reversed(matching) if sum(matching[name]) >= NEARLY_ALL * most)
    return best, matching[best]


def _read_rows(
    named_rows: NamedRows, name: str, matching: Sequence[bool], row_format: RowFormat, where: str
) -> Reading:
    if not isinstance(row_format, DatasetFormat):
        return _read_each(named_rows.rows, name, matching, row_format)
    unusable_rows = [(number, row) for number, row in enumerate(named_rows.rows, 1) if isinstance(row, UnusableRow)]
    try:
        reading = row_format.read(named_rows.usable, named_rows.options)
        for number, pair in reading.pairs:
            _check_pair(pair, name)
            named_rows.usable[number]  # a pair has the number of one of its rows
    except Exception as error:  # a plugin's fault
        raise DataError(f"{where}: format {name!r} failed: {describe_exception(error)}") from error
    reading.unusable += unusable_rows
    return reading


def _read_each(rows: Sequence[Row], name: str, matching: Sequence[bool], row_format: RowFormat) -> Reading:
    reading = Reading()
    for number, (row, matches) in enumerate(zip(rows, matching), 1):
        try:
            if isinstance(row, UnusableRow):
                raise row
            pair, columns = _make_pair(row, matches, name, row_format)
        except UnusableRow as reason:
            reading.unusable.append((number, reason))
        else:
            reading.pairs.append((number, pair))
            reading.columns[number] = columns
    return reading


def _make_pair(row: Mapping[str, Any], matches: bool, name: str, row_format: RowFormat) -> tuple[Pair, set[str]]:
    columns: Callable[[Mapping[str, Any]], Any] | None = getattr(row_format, "columns", None)
    watched_row = None if columns else WatchedRow(row)
    try:
        pair = row_format.pair(row if watched_row is None else watched_row)
        if matches:
            _check_pair(pair, name)
            return pair, watched_row.columns_read if watched_row is not None else set(columns(row) if columns else ())
    except UnusableRow:
        raise  # it knows best, also about a row of another shape
    except Exception as error:
        if matches:  # a plugin's fault, or a row it did not think of; the other rows may still be fine
            raise UnusableRow(f"format {name!r} failed: {describe_exception(error)}") from error
        raise UnusableRow(f"not in the dataset's format ({name})") from error
    raise UnusableRow(f"not in the dataset's format ({name})")


def _check_pair(pair: Any, name: str) -> None:
    if not isinstance(pair, Pair) or not all(is_text(text) for text in (pair.prompt, pair.chosen, pair.rejected)):
        raise UnusableRow(f"format {name!r} failed: it gave no pair of texts or chat messages")
