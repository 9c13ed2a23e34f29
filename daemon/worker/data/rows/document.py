"""Reads a JSON document's rows: a list of objects, objects after one another, or the wrappings that writers put around."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from prefd.daemon.specs.data_files import SPLIT_NAMES
from prefd.daemon.text.wording import clip
from prefd.daemon.worker.data.rows.placed import DataFile
from prefd.daemon.worker.data.rows.splits import names_a_split, quote_names, suggest_split
from prefd.plugins.formats.messages import TwiceTheKey, make_object
from prefd.plugins.formats.sides import named_sides
from prefd.plugins.types import UnusableRow

AS_LINES = 'write it with to_json(orient="records", lines=True)'
NUMBER = re.compile(r"-?\d+(\.\d+)?")
"""The label of a row in pandas' own index, or one that was shuffled, cut or set."""
OBJECTS = frozenset(["role", "from", "content", "value", "text"])
"""Keys of an object that is an answer or a message, and no column of rows."""
BLANK = re.compile(r"[ \t\r\n]*")
MESSAGE_KEYS = {"role", "from"}
COLUMNS = {"prompt", "chosen", "rejected"}
WRAPPERS = {"data", "dataset", "examples", "instances", "items", "pairs", "preferences", "records", "rows", "samples"}
"""Keys that rows are put under, whatever else is told beside them."""


DECODER = json.JSONDecoder(object_pairs_hook=make_object)


def add_document(file: DataFile, text: str, splits: tuple[str, ...]) -> None:
    """Adds the rows of a whole file. Raises ValueError and RecursionError where it is no JSON, and adds nothing then."""
    start = _skip(text, 0)
    if start == len(text):
        return
    if text[start] == "[":
        elements = list(_elements(text, start))
        _check_named(file, [row for _, row in elements])
        _add_placed(file, text, elements)
        return
    values = list(_values(text, start))
    if len(values) > 1:
        _add_placed(file, text, values)
    elif (rows := _unwrapped(file, values[0][1], splits)) is not None:
        for number, row in enumerate(rows, 1):
            file.add(row, number, "row")
    else:
        _add_placed(file, text, values)


def _check_named(file: DataFile, rows: list[Any]) -> None:
    """Raises `DataError` for rows that are lists of cells, of which nobody knows the columns."""
    if rows and all(isinstance(row, list) and row and len(row) == len(rows[0]) for row in rows):
        raise file.fault(
            f'a list of lists with {len(rows[0])} cells each, as pandas writes with orient="values": the names of the columns are '
            f"not in it; {AS_LINES}, or a list of objects"
        )


def _add_placed(file: DataFile, text: str, elements: list[tuple[int, Any]]) -> None:
    """Rows at their lines, where each has lines of its own; otherwise by number."""
    lines: list[int] = []
    line, previous_start = 1, 0
    for start, _ in elements:
        line += text.count("\n", previous_start, start)
        previous_start = start
        lines.append(line)
    listed_on_a_line = text.lstrip().startswith("[") and "\n" not in text.strip()
    has_own_lines = not listed_on_a_line and all(line < next_line for line, next_line in pairwise(lines))
    for number, (line, (_, row)) in enumerate(zip(lines, elements), 1):
        file.add(row, *((line, "line") if has_own_lines else (number, "row")))


def _elements(text: str, start: int) -> Iterator[tuple[int, Any]]:
    """Each element of the list that begins at `start`, with where it begins; nothing may follow the list."""
    position = _skip(text, start + 1)
    while text[position : position + 1] != "]" or text[position - 1] == ",":
        value, end = _decode(text, position)
        yield position, value
        position = _skip(text, end)
        if text[position : position + 1] == ",":
            position = _skip(text, position + 1)
            if text[position : position + 1] == "]":
                raise json.JSONDecodeError("Expecting value", text, position)
        elif text[position : position + 1] != "]":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, position)
    if (end := _skip(text, position + 1)) < len(text):
        raise json.JSONDecodeError("Extra data", text, end)


def _values(text: str, position: int) -> Iterator[tuple[int, Any]]:
    """Each of the objects that stand after one another."""
    while position < len(text):
        if text[position] != "{":
            raise json.JSONDecodeError("Expecting an object", text, position)
        value, end = _decode(text, position)
        yield position, value
        position = _skip(text, end)


def _decode(text: str, position: int) -> tuple[Any, int]:
    """One value and where it ends; a row with a key twice is an `UnusableRow`."""
    try:
        return DECODER.raw_decode(text, position)
    except TwiceTheKey as reason:
        return reason, json.JSONDecoder().raw_decode(text, position)[1]


def _skip(text: str, position: int) -> int:
    match = BLANK.match(text, position)
    return match.end() if match else position


def _unwrapped(file: DataFile, value: Any, splits: tuple[str, ...]) -> list[Any] | None:
    """The rows in an object that is not one row itself; None where it is one, or may be."""
    if not isinstance(value, dict) or not value or any(isinstance(value.get(name), str) for name in COLUMNS):
        return None
    if set(value) == {"columns", "index", "data"} and _is_table(value):
        file.note('written by pandas with orient="split"; read as its rows')
        return [dict(zip(value["columns"], cells)) for cells in value["data"]]
    if all(_is_rows(rows) or _is_columns(rows) for rows in value.values()) and any(map(names_a_split, value)):
        rows = _take_split(file, value, splits)
        return _rows_from_columns(file, rows) if isinstance(rows, dict) else rows
    wrapped = [
        key for key, rows in value.items() if _is_rows(rows) and (key.lower() in WRAPPERS or (rows and len(value) == 1))
    ]
    if len(wrapped) == 1:
        file.note(f"its rows were read from under {clip(wrapped[0])!r}")
        return [_unnumbered(row) for row in value[wrapped[0]]]
    if len(value) == 1 and isinstance(inner := next(iter(value.values())), dict) and not WRAPPERS.isdisjoint(value):
        return _unwrapped(file, inner, splits)
    return _rows_from_columns(file, value)


def _unnumbered(row: Any) -> Any:
    """The hub's own viewer puts each row beside its number, and the names of the cells that it has cut."""
    if not isinstance(row, dict) or not {"row_idx", "row"} <= row.keys():
        return row
    if cut_cells := row.get("truncated_cells"):
        return UnusableRow(
            f"the hub's viewer has cut its {', '.join(map(str, cut_cells))}: fetch the dataset's own file"
        )
    return row["row"]


def _is_rows(value: Any) -> bool:
    """A list of objects that are not chat messages."""
    return isinstance(value, list) and all(isinstance(row, dict) and not MESSAGE_KEYS & row.keys() for row in value)


def _is_columns(value: Any) -> bool:
    """A list for each column, as `DatasetDict.to_dict` gives for each split."""
    return isinstance(value, dict) and bool(value) and all(isinstance(cells, list) for cells in value.values())


def _is_table(value: Mapping[str, Any]) -> bool:
    columns, data = value["columns"], value["data"]
    return (
        isinstance(columns, list)
        and isinstance(data, list)
        and all(isinstance(column, str) for column in columns)
        and all(isinstance(cells, list) and len(cells) == len(columns) for cells in data)
    )


def _take_split(file: DataFile, lists: Mapping[str, Any], splits: tuple[str, ...]) -> Any:
    """Says what stands under the first of `splits` that there is; refused where there is none, with those there are."""
    for split in splits:
        for key, rows in lists.items():
            if _names(split, key):
                file.split = key
                other_names = ", ".join(repr(clip(other_key)) for other_key in lists if other_key != key)
                file.note(
                    f"its rows were read from under {clip(key)!r}" + (f", and not {other_names}" if other_names else "")
                )
                return rows
    listed = ", ".join(clip(key) for key in lists)
    raise file.fault(
        f"it holds no rows under {quote_names(splits)}, but under {listed}; {suggest_split(list(lists), splits, file.split_key)}"
    )


def _names(split: str, key: str) -> bool:
    return key == split or key.lower() in SPLIT_NAMES.get(split, {split.lower()})


def _rows_from_columns(file: DataFile, value: Mapping[str, Any]) -> list[Any] | None:
    """Rows written column by column, as lists or with pandas' index; None for what may be a row."""
    columns = list(value.values())
    if len(columns) > 1 and all(isinstance(cells, list) and not _is_chat(cells) for cells in columns):
        lengths = {name: len(cells) for name, cells in value.items()}
        if len(set(lengths.values())) > 1:
            length_list = ", ".join(f"{clip(name)} {length}" for name, length in lengths.items())
            raise file.fault(f"a list for each column, of different lengths ({length_list}); write a list of objects")
        file.note("a list for each column; read as its rows")
        return [dict(zip(value, cells)) for cells in zip(*columns)]
    if not all(isinstance(cells, dict) and cells for cells in columns):
        return None
    index = list(columns[0])
    if len(columns) > 1 and all(map(NUMBER.fullmatch, {label for cells in columns for label in cells})):
        for name, cells in value.items():
            if cells.keys() != columns[0].keys():
                raise file.fault(
                    f'written by pandas with orient="columns", and {clip(name)!r} has other rows than {clip(next(iter(value)))!r}; {AS_LINES}'
                )
        file.note('written by pandas with orient="columns"; read as its rows')
        return [{name: cells[label] for name, cells in value.items()} for label in index]
    if all(map(NUMBER.fullmatch, value)):
        file.note('written by pandas with orient="index"; read as its rows')
        return columns
    if named_sides(value) is None and all(named_sides(row) for row in columns):
        file.note("an object of rows by their names; read as its rows")
        return columns
    if named_sides(value) is not None and len(index) > 1 and OBJECTS.isdisjoint(index) and _is_frame(columns):
        raise file.fault(
            f'it looks as pandas writes it with orient="columns", an object of columns whose rows are named {", ".join(map(repr, map(clip, index[:3])))}; {AS_LINES}'
        )
    return None


def _is_frame(columns: list[dict[str, Any]]) -> bool:
    """Says whether each column has the same labels, as a table's have."""
    return all(cells.keys() == columns[0].keys() for cells in columns)


def _is_chat(value: list[Any]) -> bool:
    return any(isinstance(item, dict) and MESSAGE_KEYS & item.keys() for item in value)
