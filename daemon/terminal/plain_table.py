"""PlainTable draws columns under bold headings, for `prefd jobs --all` too: rich's own table takes 3 s for 10,000 rows.

Widths are computed once, and a row whose cells all fit is put together as text. Only a cell that has to be folded or cut,
or that has several styles, is left to rich.

Every table with headings is drawn here. rich's grids draw the rest, of which there are few rows: facts, findings that are printed
as they are made, and the block with a progress bar. They have no headings, and columns of fixed widths and of a style, whose
cells may be drawn things. Neither can serve for both: this would have to learn all of that, and rich is too slow for lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import le

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.control import strip_control_codes
from rich.segment import Segment
from rich.text import Text

TAB = 8


class CutText(str):
    """CutText is the text of a cell that is cut where there is no room, not folded. A plain string: rich's Text takes five times as long to make."""

    __slots__ = ()


Cell = str | Text


class PlainTable:
    """PlainTable is a table of text and numbers. What room is lacking is taken from the last column and from those with cells that may be cut."""

    def __init__(self, headings: Sequence[str], rows: Sequence[Sequence[Cell]], right: Sequence[str], gap: int) -> None:
        height = max(heading.count("\n") for heading in headings)
        self.headings = ["\n" * (height - heading.count("\n")) + heading for heading in headings]
        """Of as many lines each: those of fewer stand at the bottom."""
        self.rows = rows
        self.gap = gap
        """Blanks between two columns."""
        self.gap_text = " " * gap
        self.is_right = [heading in right for heading in headings]
        last = len(headings) - 1
        self.gives_way = [
            index == last or any(isinstance(row[index], CutText) for row in rows) for index in range(last + 1)
        ]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        rows = [[Text(heading, style="bold") for heading in self.headings], *self.rows]
        texts = [[_read_text(cell) for cell in row] for row in rows]
        lengths = [[_measure_lines(text) for text in row] for row in texts]
        widths = self._fit([max(column) for column in zip(*lengths)], options.max_width)
        for row, row_texts, row_lengths in zip(rows, texts, lengths):
            if all(map(le, row_lengths, widths)) and not any(map(_is_composed, row, row_texts)):
                yield from self._draw_line(console, row, row_texts, row_lengths, widths)
            else:
                yield from self._fold(console, options, row, widths)

    def _fit(self, natural_widths: list[int], room: int) -> list[int]:
        """Return the width of each column: what its widest cell takes, or less where there is no room for all."""
        widths = natural_widths
        excess = sum(widths) + self.gap * (len(widths) - 1) - room
        for giving in (self.gives_way, [True] * len(widths)):
            givers = [index for index in range(len(widths)) if giving[index]]
            while excess > 0:
                giver = max(givers, key=lambda index: self._span(widths, index))
                if widths[giver] <= 1:
                    break
                widths[giver] -= 1
                excess -= 1
        return widths

    def _span(self, widths: Sequence[int], index: int) -> int:
        """Return a column's width with the gap behind it: the widest gives way first."""
        return widths[index] + (self.gap if index < len(widths) - 1 else 0)

    def _draw_line(
        self, console: Console, row: Sequence[Cell], texts: Sequence[str], lengths: Sequence[int], widths: Sequence[int]
    ) -> Iterator[Segment]:
        """Draw a row of cells that all fit: its styled cells, and what is between them."""
        between = ""
        last = len(widths) - 1
        for index, (cell, text) in enumerate(zip(row, texts)):
            blanks = " " * (widths[index] - lengths[index])
            if self.is_right[index]:
                between += blanks
            if isinstance(cell, Text) and cell.style:
                yield Segment(between)
                yield Segment(text, console.get_style(cell.style))
                between = ""
            else:
                between += text
            if index < last:
                between += self.gap_text if self.is_right[index] else blanks + self.gap_text
        yield Segment(between + "\n")

    def _fold(
        self, console: Console, options: ConsoleOptions, row: Sequence[Cell], widths: Sequence[int]
    ) -> Iterator[Segment]:
        """Draw a row as rich does: cells are folded at words, or cut."""
        columns = []
        for index, (cell, width) in enumerate(zip(row, widths)):
            is_cut = isinstance(cell, CutText)
            text = cell if isinstance(cell, Text) else Text(cell)
            cell_options = options.update(
                width=width,
                height=None,
                justify="right" if self.is_right[index] else "left",
                no_wrap=is_cut or not self.gives_way[index],
                overflow="ellipsis" if is_cut else "fold",
            )
            columns.append(console.render_lines(text, cell_options))
        for number in range(max(map(len, columns))):
            for index, lines in enumerate(columns):
                yield from lines[number] if number < len(lines) else [Segment(" " * widths[index])]
                yield Segment(" " * self.gap if index < len(columns) - 1 else "\n")


def _read_text(cell: Cell) -> str:
    """Return what a cell holds, without the characters that would move a terminal's cursor."""
    text = cell if isinstance(cell, str) else cell.plain
    if not text.isprintable():
        text = strip_control_codes(text).expandtabs(TAB)
    return text


def _is_composed(cell: Cell, text: str) -> bool:
    """Return whether a cell has several lines or styles."""
    return "\n" in text or (isinstance(cell, Text) and bool(cell.spans))


def _measure_lines(text: str) -> int:
    """Return how many columns of a terminal the longest line of a text takes."""
    if "\n" in text:
        return max(map(_measure_lines, text.split("\n")))
    return len(text) if text.isascii() else cell_len(text)
