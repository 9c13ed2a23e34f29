"""Defines a row's place for its writer: the file and the line, or the row's number where there are no lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from prefd.daemon.errors import PrefdError
from prefd.plugins.types import UnusableRow

Row = Mapping[str, Any] | UnusableRow
"""One row by column; or, where the file has something else in its place, why it cannot be used."""


class DataError(PrefdError, ValueError):
    """The job's data cannot be read or used. The message is shown to the user: value, place and remedy."""


class Place(NamedTuple):
    """Place says where a row stands, as `pairs.jsonl:4` or `pairs.parquet row 4`; both count from 1."""

    file: str
    number: int
    unit: Literal["line", "row"] = "line"

    def __str__(self) -> str:
        return f"{self.file}{':' if self.unit == 'line' else ' row '}{self.number}"


@dataclass
class Rows:
    """Rows holds the rows of one source in their order, their places, and notes on how they were read."""

    rows: list[Row] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What the user should know of how the files were read: each a sentence that names the file."""


@dataclass
class DataFile:
    """DataFile holds a file being read, and the name that its rows are placed by."""

    path: Path
    name: str
    """In the places of its rows: the file's name, or its path in the folder that was asked for."""
    into: Rows
    split_key: str = "data.split"
    """The setting that names a split."""
    split: str = ""
    """The split it was read from, where the file itself holds several by name."""

    def add(self, row: Any, number: int, unit: Literal["line", "row"] = "line") -> None:
        """Adds a row; anything but a mapping of columns is an unusable one."""
        usable = isinstance(row, dict | UnusableRow)
        self.into.rows.append(row if usable else _why_no_row(row))
        self.into.places.append(Place(self.name, number, unit))

    def note(self, remark: str) -> None:
        """Adds a note on how the file was read, once."""
        line = f"{self.name}: {remark}"
        if line not in self.into.notes:  # a file may be looked at before it is read
            self.into.notes.append(line)

    def fault(self, problem: str) -> DataError:
        """Makes the error that names this file and its `problem`."""
        return DataError(f"{self.path}: {problem}")


def _why_no_row(value: Any) -> UnusableRow:
    """Explains what stands in the place of a row."""
    hint = ""
    if isinstance(value, list):
        hint = ", but a list: write each row as an object with the names of its columns"
    if isinstance(value, str) and value.lstrip().startswith("{"):
        hint = ", but text: an object that was encoded twice (json.dumps of a string)"
    return UnusableRow(f"not a JSON object{hint}")
