"""Renders tables, facts, states and messages on a terminal. Data goes to stdout, messages to stderr.

rich is imported where something is drawn: `prefd --help` draws nothing, and rich is a fifth of what it would import.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from prefd.daemon.jobs.states import COLOURS
from prefd.daemon.text.json_output import add_schema, dump_indented

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from prefd.daemon.terminal.plain_table import CutText, PlainTable

PIPE_WIDTH = 10_000  # into a pipe nothing is wrapped or cut: programs that read it count lines


def open_stdout() -> Console:
    """Makes the console for data, anew at each call, so that it is what stdout is now."""
    from rich.console import Console

    from prefd.daemon.terminal.pipe import PipeConsole

    if sys.stdout.isatty():
        return Console(highlight=False, markup=False, emoji=False)
    width = None if os.environ.get("COLUMNS") else PIPE_WIDTH
    return PipeConsole(width=width, highlight=False, markup=False, emoji=False)


def show_busy(name: str) -> AbstractContextManager[Any]:
    """Shows on a terminal, for as long as the block lasts, that `name` is at work; elsewhere, and for an empty name, nothing."""
    if not name or not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False).status(f"{name} …")


def emit_json(fields: Mapping[str, Any]) -> None:
    """Writes one JSON document to stdout, under its schema's number, in UTF-8 whatever the locale."""
    click.echo(dump_indented(add_schema(fields)))


def print_note(message: str) -> None:
    """Writes a message for the user to stderr."""
    click.echo(message, err=True)


def print_warning(message: str) -> None:
    """Writes a warning to stderr."""
    print_labelled("warning", "yellow", message)


def print_labelled(label: str, color: str, message: str) -> None:
    """Writes a labelled message to stderr; the lines after its first are set under it. click does not know NO_COLOR."""
    color_allowed = False if os.environ.get("NO_COLOR") else None
    first, *other_lines = message.splitlines() or [""]
    click.echo(click.style(f"{label}: ", fg=color, bold=True) + first, err=True, color=color_allowed)
    for line in other_lines:
        click.echo(" " * (len(label) + 2) + line, err=True)


def make_table(
    columns: Sequence[str], rows: Sequence[Sequence[str | Text]], right: Sequence[str] = (), gap: int = 2
) -> PlainTable:
    """Makes a table of plain columns under bold headings; those in `right` are numbers.

    What room is left goes to the last column, and to columns of `cut_cell`s.
    """
    from prefd.daemon.terminal.plain_table import PlainTable

    return PlainTable(columns, rows, right, gap)


def make_facts(pairs: Sequence[tuple[str, str | Text]]) -> Table:
    """Makes a table with names on the left and their values on the right."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        grid.add_row(name, value)
    return grid


def cut_cell(text: str) -> CutText:
    """Makes a cell of the first line of `text` that is cut where there is no room, not folded."""
    from prefd.daemon.terminal.plain_table import CutText

    return CutText(text.splitlines()[0] if text else "")


def color_state(name: str) -> Text:
    """Colours a job's state."""
    from rich.text import Text

    return Text(name, style=COLOURS.get(name.strip(), ""))
