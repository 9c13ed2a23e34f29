"""The table of columns: where its cells stand, and what gives way where there is no room."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence

import pytest
from rich.console import Console
from rich.text import Text

from prefd.daemon.terminal import render
from prefd.daemon.terminal.plain_table import Cell, PlainTable


def draw(
    columns: Sequence[str], rows: Sequence[Sequence[Cell]], width: int = 100, right: Sequence[str] = ()
) -> list[str]:
    """The table's lines on a console of this width, without blanks at their ends."""
    file = io.StringIO()
    Console(file=file, width=width, markup=False, emoji=False).print(PlainTable(columns, rows, right, gap=2))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_numbers_stand_to_the_right_and_wide_letters_count_twice() -> None:
    rows = [("7", "漢字", "x"), ("11", "a", "y")]
    assert draw(["id", "name", "why"], rows, right=["id"]) == ["id  name  why", " 7  漢字  x", "11  a     y"]


def test_headings_of_fewer_lines_stand_at_the_bottom() -> None:
    assert draw(["rewards/\nchosen", "loss"], [("1", "2")]) == ["rewards/", "chosen    loss", "1         2"]


def test_where_room_is_lacking_cut_cells_are_cut_and_the_last_column_is_folded() -> None:
    rows = [("1", render.cut_cell("a very long name"), "words that are folded")]
    assert draw(["id", "name", "why"], rows, width=20) == [
        *("id  name    why", "1   a ver…  words"),
        *("            that are", "            folded"),
    ]


def test_no_line_is_longer_than_the_console() -> None:
    rows = [("1" * 9, "2" * 9, "3" * 9)]
    for width in range(7, 40):
        assert max(map(len, draw(["a", "b", "c"], rows, width=width))) <= width


def test_a_cell_of_several_lines_goes_on_under_itself() -> None:
    assert draw(["id", "why"], [("1", "one\ntwo"), ("2", "three")]) == ["id  why", "1   one", "    two", "2   three"]


def test_what_would_move_the_cursor_is_not_printed() -> None:
    assert draw(["id", "why"], [("1", "a\rb\x07c\td")]) == ["id  why", "1   abc     d"]


def test_styles_are_kept() -> None:
    file = io.StringIO()
    console = Console(file=file, width=40, force_terminal=True, color_system="standard")
    console.print(
        PlainTable(["state", "why"], [(Text("failed", style="red"), Text.assemble("a ", ("b", "green")))], (), 2)
    )
    assert "\x1b[31mfailed\x1b[0m" in file.getvalue()
    assert "\x1b[32mb\x1b[0m" in file.getvalue()
    assert "\x1b[1mstate\x1b[0m" in file.getvalue()


@pytest.mark.parametrize("width", [80, 10_000])
def test_ten_thousand_rows_are_drawn_in_a_moment(width: int) -> None:
    """rich's own table takes 3 s of CPU for as many, on the machine where this takes 0.2 s."""
    rows = [(str(number), render.color_state("queued"), "job", render.cut_cell("why")) for number in range(10_000)]
    began = time.process_time()
    assert len(draw(["id", "state", "name", "why"], rows, width=width)) == 10_001
    assert time.process_time() - began < 2
