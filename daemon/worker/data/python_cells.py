"""Refuses a dataset with a column of lists or objects in Python's syntax, as `str` and pandas' `to_csv` write them.

JSON in a cell is decoded (`json_cells.py`). Python's syntax is not: the cell would be taken for prose, or the row would
seem to have no answers.
"""

from __future__ import annotations

import re

from prefd.daemon.worker.data.columns import NamedRows
from prefd.daemon.worker.data.dataset import Dataset
from prefd.daemon.worker.data.rows import DataError
from prefd.plugins.formats.chats import SHAREGPT
from prefd.plugins.formats.json_cells import PLURALS
from prefd.plugins.formats.messages import AS_REPR, parse_json
from prefd.plugins.formats.names import CHATS, LISTS, PROMPTS, key_of, side_of, words_of
from prefd.plugins.formats.numbering import is_answer_base, numbered
from prefd.plugins.formats.prompt import INSIDE, is_blank
from prefd.plugins.formats.sides import named_sides

NEARLY_ALL = 0.9
"""The share of a column's cells from which on the column is of that kind, and not a few texts in it."""
TURNS = CHATS | {"history", "conversations", "dialog", "chat", "trajectory"}
"""Last words of names of columns of turns, which may be pairs of texts as well as messages."""
OBJECT = re.compile(r"""(array\()?[\[(\s]*\{\s*['"]""")
LIST = re.compile(r"""(array\()?\[[\[(\s]*['"]""")
NESTED = re.compile(r"""(array\()?\[\s*[\[(]\s*['"]""")
SPOKEN = re.compile(rf"""(array\()?\[\s*[\[(]\s*['"]({"|".join(SHAREGPT)})['"]\s*,""", re.IGNORECASE)
"""Pairs of who speaks and what is said."""
PARTS = re.compile(rf"""(array\()?[\[(\s]*\{{.*'({"|".join(INSIDE)}|input|output)'\s*:""", re.DOTALL)
"""An object that holds the prompt, or turns, by its keys."""


def check_python_cells(dataset: Dataset) -> None:
    """Raises `DataError` for such a column where any pair is made of it, or where there is no pair at all."""
    columns_read = set[str]().union(*dataset.columns_read.values())
    for column, numbers in find_python_cells(dataset.named_rows).items():
        if column in columns_read or not dataset.pairs:
            raise python_cells_error(dataset.where, dataset.named_rows, column, dataset.name_rows(numbers))


def find_python_cells(named_rows: NamedRows) -> dict[str, list[int]]:
    """Finds columns that by their names are lists or objects, and in nearly every row are text in Python's syntax.

    With the numbers of those rows.
    """
    rows_of_column: dict[str, list[int]] = {}
    for column in dict.fromkeys(column for row in named_rows.usable.values() for column in row):
        cells = {number: row[column] for number, row in named_rows.usable.items() if not is_blank(row.get(column))}
        numbers = [
            number for number, cell in cells.items() if isinstance(cell, str) and _is_python(column, cell.strip())
        ]
        if numbers and len(numbers) >= NEARLY_ALL * len(cells):
            rows_of_column[column] = numbers
    return rows_of_column


def python_cells_error(where: str, named_rows: NamedRows, column: str, rows: str) -> DataError:
    """Makes the error for a column that is text in Python's syntax. `rows`: those rows, in words."""
    name = named_rows.original(column)
    is_beside_pair = column != "prompt" and named_sides(set(named_rows.columns) - {name}) is not None
    leaving = f", or leave it out (data.ignore_columns: [{name}])" if is_beside_pair else ""
    return DataError(
        f"{where}: the column {name!r} is Python's repr of lists or objects ({rows}); write JSON (json.dumps of each, or "
        f"DataFrame.to_json(orient='records', lines=True)){leaving}"
    )


def _is_python(column: str, text: str) -> bool:
    """Says whether `text` is a list or an object in Python's syntax, in a column that by its name may hold one."""
    if not text.startswith(("[", "{", "(", "array(")) or not text.endswith(("]", "}", ")")):
        return False
    return _may_hold(column, text) and not _is_json(text)


def _may_hold(column: str, text: str) -> bool:
    key, last_word = key_of(column), words_of(column)[-1:]
    if not last_word or side_of(column) in ("chosen", "rejected"):
        return False  # of these each row says what is wrong
    if last_word[0] in PLURALS:
        return True
    if last_word[0] in LISTS | {"tools", "kwargs"}:
        return bool(OBJECT.match(text) or LIST.match(text))
    numbered_column = numbered(column)
    if key == "info" or (numbered_column is not None and is_answer_base(numbered_column.base)):
        return bool(OBJECT.match(text))
    if last_word[0] in TURNS and (NESTED.match(text) or AS_REPR.match(text)):
        return True
    return key in PROMPTS and any(kind.match(text) for kind in (AS_REPR, PARTS, SPOKEN))


def _is_json(text: str) -> bool:
    try:
        parse_json(text)
    except (ValueError, RecursionError):
        return False
    return True
