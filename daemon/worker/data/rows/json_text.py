"""Reads JSON files: an object a line, or one document; each row is placed at its line."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from prefd.daemon.worker.data.rows.document import DECODER, add_document
from prefd.daemon.worker.data.rows.opened import open_data_file
from prefd.daemon.worker.data.rows.placed import DataError, DataFile
from prefd.plugins.formats.messages import TwiceTheKey
from prefd.plugins.types import UnusableRow

MAX_LINE = 2**27
"""Bytes in a line of JSON: far more than any pair. A few kilobytes of gzip can hold a line that no memory can."""
MAX_DOCUMENT = 2**32
"""Bytes in a document, which has to be in memory whole."""
PIECE = 2**24
BOM = b"\xef\xbb\xbf"


def read_json_lines(file: DataFile, splits: tuple[str, ...]) -> None:
    """Reads one object a line as a stream; or else a document under a name that promises lines."""
    with open_data_file(file) as stream:
        lines = _lines(file, stream)
        first = next(lines, None)
        if first is None:
            return
        row = _parse_line(first[1])
        if isinstance(row, UnusableRow):
            _check_no_table(file, first[1])
        is_line = isinstance(row, dict | TwiceTheKey)
        if is_line and (second := next(lines, None)) is not None:  # the usual file
            for line in (first, second, *lines):
                _add_line(file, line)
            return
        data = b"\n" * (first[0] - 1) + first[1] + _read_remainder(file, stream)
    try:
        add_document(file, data.decode(), splits)
    except DataError:
        raise  # it is a document, and the error says what is wrong with it
    except (ValueError, RecursionError):
        _add_lines(file, data)
    else:
        if not is_line:
            file.note("a JSON document, where its name promises an object a line; it was read as such")


def read_json(file: DataFile, splits: tuple[str, ...]) -> None:
    """Reads a document; or one object a line, which many call .json as well."""
    with open_data_file(file) as stream:
        data = _read_remainder(file, stream).removeprefix(BOM)
    head, _, more = data.lstrip().partition(b"\n")
    if isinstance(_parse_line(head), UnusableRow):
        _check_no_table(file, head)
    if more.strip() and isinstance(_parse_line(head), dict):
        _add_lines(file, data)
        return
    try:
        add_document(file, data.decode(), splits)
    except UnicodeDecodeError as error:
        raise file.fault(f"not UTF-8 at byte {error.start}; save the file as UTF-8") from error
    except RecursionError as error:
        raise file.fault("not JSON that can be read: nested too deeply") from error
    except json.JSONDecodeError as error:
        problem = _why_not_json(data)
        raise file.fault(f"{problem}: {error}; write a list of objects, or one object a line") from error


def _read_remainder(file: DataFile, stream: BinaryIO) -> bytes:
    data = bytearray()
    while piece := stream.read(PIECE):
        data += piece
        if len(data) > MAX_DOCUMENT:
            raise file.fault("a JSON document of more than 4 GiB; write one object a line (.jsonl)")
    return bytes(data)


def _lines(file: DataFile, stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Every line that is not blank, with its number."""
    number = 0
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            problem = "is longer than 128 MiB; write one object a line, or name a JSON list .json"
            raise file.fault(f"line {number} {problem}")
        text = line.removeprefix(BOM) if number == 1 else line
        if text.strip():
            yield number, text


def _add_lines(file: DataFile, data: bytes) -> None:
    for line in _lines(file, io.BytesIO(data)):
        _add_line(file, line)


def _add_line(file: DataFile, line: tuple[int, bytes]) -> None:
    file.add(_parse_line(line[1]), line[0])


def _parse_line(line: bytes) -> Any:
    try:
        return DECODER.decode(line.decode())
    except UnicodeDecodeError:
        return UnusableRow("not UTF-8 (save the file as UTF-8)")
    except TwiceTheKey as reason:
        return reason
    except (ValueError, RecursionError):
        return UnusableRow(_why_not_json(line))


def _check_no_table(file: DataFile, line: bytes) -> None:
    """Raises `DataError` for the header of a table, which the name of a JSON file should not have."""
    for separator, suffix in ((b",", ".csv"), (b"\t", ".tsv"), (b";", ".csv")):
        names = [name.strip().strip(b'"').decode("utf-8", "replace") for name in line.split(separator)]
        if len(names) > 1 and all(name.isidentifier() for name in names):
            raise file.fault(f"it looks like a table with the columns {', '.join(names[:5])}; name it {suffix}")


def _why_not_json(line: bytes) -> str:
    if b"\0" in line:
        return "not JSON, but NUL bytes"
    if line.lstrip().startswith((b"{'", b"[{'")):
        return "Python's repr and not JSON (write it with json.dumps)"
    return "not JSON"
