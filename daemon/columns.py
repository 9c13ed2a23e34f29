"""Tables of thousands of rows: plain columns, one line a row. rich takes 0.4 ms a row, and who reads a pipe wants no colour."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence

import click
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from prefd.daemon import render

GAP = "  "
MANY = 200
"""Rows that rich has printed before anyone minds."""

Row = tuple[str, ...]


def emit(
    columns: Sequence[str], rows: Sequence[Row], right: Sequence[str], dress: Callable[[Row], tuple[str | Text, ...]]
) -> None:
    """Print a table of data: each row as `dress` makes it, or, when there are many, the first line of each of its cells."""
    if len(rows) <= MANY:
        render.stdout().print(render.table(columns, [dress(row) for row in rows], right=right))
        return
    width = render.stdout().width if sys.stdout.isatty() else None
    click.echo("\n".join(lines(columns, rows, right, width)))


def lines(
    columns: Sequence[str], rows: Sequence[Row], right: Sequence[str] = (), width: int | None = None
) -> Iterator[str]:
    """The heading and the rows; those in `right` are numbers. Longer lines are cut to `width` cells, where it is given."""
    cells = [tuple(columns), *(tuple(cell.partition("\n")[0] for cell in row) for row in rows)]
    sizes = [[_size(cell) for cell in column] for column in zip(*cells)]
    widths = [max(column) for column in sizes]
    to_right = [column in right for column in columns]
    for at, row in enumerate(cells):
        padded = []
        for column, cell in enumerate(row):
            space = " " * (widths[column] - sizes[column][at])
            padded.append(space + cell if to_right[column] else cell + space)
        line = GAP.join(padded).rstrip()
        yield line if width is None or _size(line) <= width else set_cell_size(line, width - 1) + "…"


def _size(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)
