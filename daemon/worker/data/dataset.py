"""Holds the pairs of a dataset's rows, the rows that give none, and the columns that nobody read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from prefd.daemon.worker.data.columns import NamedRows
from prefd.plugins.types import Pair, UnusableRow

SHOWN_ROWS = 5
"""How many row numbers of each reason are shown."""


def list_row_numbers(rows: Sequence[int]) -> str:
    """Names `rows` in words, the first few of them."""
    more = ", …" if len(rows) > SHOWN_ROWS else ""
    return f"{'row' if len(rows) == 1 else 'rows'} {', '.join(map(str, rows[:SHOWN_ROWS]))}{more}"


@dataclass
class Dataset:
    """Dataset holds a dataset's pairs, and what became of its other rows and columns."""

    where: str
    """The field of the spec and the source, which messages begin with."""
    format: str
    named_rows: NamedRows
    pairs: list[tuple[int, Pair]] = field(default_factory=list)
    """The pairs, each with the number of the row that it comes from, in order."""
    unusable: list[tuple[int, UnusableRow]] = field(default_factory=list)
    columns_read: dict[int, set[str]] = field(default_factory=dict)
    """The columns that a row's pairs are made of, by the row's number."""
    notes: list[str] = field(default_factory=list)
    """What the user should know of how it was read."""
    name_rows: Callable[[Sequence[int]], str] = list_row_numbers
    """How rows are named in messages and notes, by their numbers."""

    @property
    def columns(self) -> list[str]:
        """Returns the columns that any pair is made of, in their order."""
        unread = set(self.unread)
        return [
            column
            for column in self.named_rows.columns
            if column not in unread and column in self.named_rows.filled_columns
        ]

    @property
    def unread(self) -> list[str]:
        """Returns the columns that hold something and that no pair is made of, in their order."""
        columns_read = {
            self.named_rows.original(column) for columns in self.columns_read.values() for column in columns
        } | self.named_rows.joined_columns
        return [
            column
            for column in self.named_rows.columns
            if column not in columns_read and column in self.named_rows.filled_columns
        ]
