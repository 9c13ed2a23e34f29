"""How tables, facts, states and messages look on a terminal. Data goes to stdout, messages to stderr."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from prefd.daemon.jobs.states import COLOURS
from prefd.daemon.text.json_output import document

PADDING = re.compile(r"[ ]+$", re.MULTILINE)
PIPE_WIDTH = 10_000  # into a pipe nothing is wrapped or cut: whoever reads it counts lines


class _Pipe(Console):
    """What is printed goes out without the blanks that a table's last column is filled with."""

    def print(self, *objects: Any, **settings: Any) -> None:
        with self.capture() as held:
            super().print(*objects, **settings)
        self.file.write(PADDING.sub("", held.get()))
        self.file.flush()


def stdout() -> Console:
    """The console for data. Made anew at each call, so that it is whatever stdout is now."""
    if sys.stdout.isatty():
        return Console(highlight=False, markup=False, emoji=False)
    width = None if os.environ.get("COLUMNS") else PIPE_WIDTH
    return _Pipe(width=width, highlight=False, markup=False, emoji=False)


def emit_json(fields: Mapping[str, Any]) -> None:
    """One JSON document on stdout, under its schema's number."""
    click.echo(json.dumps(document(fields), indent=1, ensure_ascii=False))


def note(message: str) -> None:
    """A message for the person, on stderr."""
    click.echo(message, err=True)


def warn(message: str) -> None:
    complain("warning", "yellow", message)


def complain(label: str, color: str, message: str) -> None:
    """A labelled message on stderr; the lines after its first are set under it. click does not know NO_COLOR."""
    allowed = False if os.environ.get("NO_COLOR") else None
    first, *rest = message.splitlines() or [""]
    click.echo(click.style(f"{label}: ", fg=color, bold=True) + first, err=True, color=allowed)
    for line in rest:
        click.echo(" " * (len(label) + 2) + line, err=True)


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str | Text]], right: Sequence[str] = (), gap: int = 2
) -> Table:
    """Plain columns under bold headings; those in `right` are numbers. What room is left goes to the last, and to
    columns of `one_line`s.
    """
    made = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for at, column in enumerate(columns):
        gives_way = at == len(columns) - 1 or any(_is_cut(row[at]) for row in rows)
        justify: Literal["left", "right"] = "right" if column in right else "left"
        made.add_column(column, justify=justify, no_wrap=not gives_way, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def facts(pairs: Sequence[tuple[str, str | Text]]) -> Table:
    """Names on the left, what they are on the right."""
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        made.add_row(name, value)
    return made


def one_line(text: str) -> Text:
    """A cell that is cut where there is no room, not folded."""
    return Text((text.splitlines() or [""])[0], no_wrap=True, overflow="ellipsis")


def state(name: str) -> Text:
    return Text(name, style=COLOURS.get(name.strip(), ""))


def _is_cut(cell: str | Text) -> bool:
    return isinstance(cell, Text) and bool(cell.no_wrap)
