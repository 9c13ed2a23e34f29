"""RowShape says in the documentation which columns a format reads; each format has its own in `ROW_SHAPES`."""

from __future__ import annotations

from typing import NamedTuple


class RowShape(NamedTuple):
    """RowShape is one row of the table in docs/data.md, in Markdown."""

    columns: str
    reading: str
    """How the columns are read."""
    datasets: str = ""
    """Where rows of this shape are found."""
