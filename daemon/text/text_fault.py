"""TextFault is one thing that is wrong with a text that someone wrote, with its place in parts; Position is a place in a text.

Its `str` is the line that people read. A program that marks the place in an editor takes the parts.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from prefd.daemon.text.wording import Path, format_path

LINE_END = re.compile(r"\r\n|\r|\n")
"""What ends a line to editors, and to prefd's parsers."""


class Position(NamedTuple):
    """Position is a place in a text: its line, and its column in characters, each from 1."""

    line: int
    column: int | None = None
    """None where the line as a whole is meant."""


Positions = Mapping[Path, Position]
"""Where in the text each value is: its key, or the value itself in a list."""


@dataclass(frozen=True)
class TextFault:
    """TextFault is what is wrong with one setting (`path`), or with the text at one position."""

    message: str
    path: str = ""
    """The setting as `training.lora.keys[0]`; empty where it is not one setting that is wrong."""
    position: Position | None = None
    """Where in the text it is, as far as that is known."""

    def to_json(self) -> dict[str, str | int | None]:
        """Returns its parts as plain JSON values; null for what is not known."""
        line, column = self.position or (None, None)
        return {"line": line, "column": column, "path": self.path or None, "message": self.message}

    def __str__(self) -> str:
        """Writes the line that people read: `line 3: training.lr: unknown key; …`, or `line 3, column 8: Expected …`."""
        path = f"{self.path}: " if self.path else ""
        if self.position is None:
            return f"{path}{self.message}"
        column = "" if self.path or self.position.column is None else f", column {self.position.column}"
        return f"line {self.position.line}{column}: {path}{self.message}"


class LineStarts:
    """LineStarts tells the position of any offset in one text."""

    def __init__(self, text: str) -> None:
        self.offsets = [0, *(match.end() for match in LINE_END.finditer(text))]

    def find_position(self, offset: int) -> Position:
        """Returns the position of the character at `offset`."""
        line = bisect.bisect_right(self.offsets, offset)
        return Position(line, offset - self.offsets[line - 1] + 1)


def locate_faults(faults: list[TextFault], positions: Positions) -> list[TextFault]:
    """Returns the faults with their positions, in the order of the text.

    What is not in the text has the position of the innermost block of it that is. Faults of no setting come last.
    """
    by_name = {format_path(path): position for path, position in positions.items()}
    located = [replace(each, position=each.position or _find_position(each.path, by_name)) for each in faults]
    return sorted(located, key=lambda fault: (not fault.path, fault.position.line if fault.position else 0))


def _find_position(path: str, by_name: Mapping[str, Position]) -> Position | None:
    """Finds the position of a setting, or of the innermost block around it that is in the text."""
    while path and path not in by_name:
        path = re.sub(r"(^|\.)[^.\[]*$|\[\d+\]$", "", path)
    return by_name.get(path)
