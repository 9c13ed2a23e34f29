"""Reads CSV and TSV files: every cell is text, and the separator is the one by which all lines agree with the header."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefd.daemon.text.wording import clip
from prefd.daemon.worker.data.rows.opened import check_no_json, open_data_file, peek_start
from prefd.daemon.worker.data.rows.placed import DataFile
from prefd.plugins.formats.json_cells import decode_row
from prefd.plugins.types import UnusableRow

MAX_CELL = 2**27
"""Bytes in one cell; the csv module's own limit of 128 KiB is less than a long answer."""
SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}


def read_csv(file: DataFile, splits: tuple[str, ...]) -> None:
    """Adds every row of a CSV file."""
    _read(file, ",")


def read_tsv(file: DataFile, splits: tuple[str, ...]) -> None:
    """Adds every row of a TSV file."""
    _read(file, "\t")


def _read(file: DataFile, default_separator: str) -> None:
    """Reads by `default_separator`, unless the header itself shows another, by which every line must agree then."""
    csv.field_size_limit(MAX_CELL)
    with open_data_file(file) as stream:
        check_no_json(file, peek_start(stream))
    separator = _separator(file, default_separator)
    with _records(file, separator) as records:
        header = next(records, (0, None))[1]
        if header is None:
            return
        if len(set(header)) < len(header):
            raise file.fault(f"two columns have the same name: {', '.join(header)}")
        for line, cells in records:
            if len(cells) == len(header):
                file.add(decode_row(dict(zip(header, cells))), line)
            else:
                file.add(UnusableRow(f"not as many cells as the header's {len(header)}"), line)


def _separator(file: DataFile, default_separator: str) -> str:
    """Finds the file's separator. Raises `DataError` where its header shows another one, and the lines do not agree."""
    with _records(file, default_separator) as records:
        header = next(records, (0, []))[1]
    other_separators = [
        separator
        for separator in SEPARATORS
        if separator != default_separator and any(separator in name for name in header)
    ]
    if not other_separators:
        return default_separator
    agreeing = [separator for separator in (default_separator, *other_separators) if _agrees(file, separator)]
    if agreeing == [default_separator]:
        return default_separator
    if len(agreeing) == 1:
        file.note(f"its cells are separated by {SEPARATORS[agreeing[0]]}, and were read so")
        return agreeing[0]
    separator_names = " and ".join(
        SEPARATORS[separator]
        for separator in (other_separators if len(header) == 1 else (default_separator, *other_separators))
    )
    reason = "not every line has as many cells as the header" if not agreeing else "each of them fits every line"
    raise file.fault(
        f"its header ({clip(default_separator.join(header))}) is separated by {separator_names}, and {reason}; "
        f"write it with {SEPARATORS[default_separator]} between cells, or one JSON object a line (.jsonl)"
    )


def _agrees(file: DataFile, separator: str) -> bool:
    """Says whether every line has as many cells as the header, and that is more than one."""
    try:
        with _records(file, separator) as records:
            counts = {len(cells) for _, cells in records}
    except ValueError:  # not CSV by this separator
        return False
    return len(counts) == 1 and counts != {1}


@contextmanager
def _records(file: DataFile, separator: str) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """Reads every record that is not blank, with the line it begins at."""
    with (
        open_data_file(file) as stream,
        io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="") as text,
    ):
        reader = csv.reader(_lines(file, text), strict=True, delimiter=separator)
        try:
            yield _numbered(file, reader)
        except csv.Error as error:
            remedy = "write it with a CSV library, which puts cells into quotes, or as one JSON object a line (.jsonl)"
            raise file.fault(f"not CSV at line {reader.line_num}: {error}; {remedy}") from error


def _numbered(file: DataFile, reader: Any) -> Iterator[tuple[int, list[str]]]:
    line = 0
    for cells in reader:
        _check_cells(file, cells, line + 1)
        if cells:
            yield line + 1, cells
        line = reader.line_num


def _lines(file: DataFile, text: io.TextIOWrapper) -> Iterator[str]:
    """A few kilobytes of gzip can hold a line that no memory can."""
    while line := text.readline(MAX_CELL + 1):
        if len(line) > MAX_CELL:
            raise file.fault("a line is longer than 128 MiB; is it CSV?")
        yield line


def _check_cells(file: DataFile, cells: list[str], line: int) -> None:
    for cell in cells:
        if "\0" in cell:
            raise file.fault(f"line {line} has NUL bytes; save the file as UTF-8 text")
        try:
            cell.encode()
        except UnicodeEncodeError:
            raise file.fault(f"not UTF-8 at line {line}; save the file as UTF-8") from None
