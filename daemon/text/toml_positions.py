"""Finds where in a TOML text each value is, which `tomllib` does not tell."""

from __future__ import annotations

import re
import tomllib

from prefd.daemon.text.text_fault import LineStarts, Position
from prefd.daemon.text.wording import Path

TOKEN = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|\#[^\n]*|\n|[\[\]{},=.]|[^\s\[\]{},=."\'\#]+',
    re.DOTALL,
)
"""A string, a comment, the end of a line, a mark, or a part of a bare key or of any other value."""


def find_toml_positions(text: str) -> dict[Path, Position]:
    """Returns the position of each path in a text that `tomllib` has read."""
    return TomlReader(text).read_document()


class TomlReader:
    """TomlReader goes through the tokens of a text that is known to be TOML, and notes where its keys and items are."""

    def __init__(self, text: str) -> None:
        self.lines = LineStarts(text)
        self.tokens = [(match[0], match.start()) for match in TOKEN.finditer(text) if not match[0].startswith("#")]
        self.place = 0
        self.positions: dict[Path, Position] = {}
        self.table_counts: dict[Path, int] = {}
        """How many tables each array of tables has so far."""

    def read_document(self) -> dict[Path, Position]:
        """Reads all tokens, and returns the positions."""
        table: Path = ()
        while self.place < len(self.tokens):
            token = self._peek()
            if token == "[":
                table = self._read_header()
            elif token == "\n":
                self.place += 1
            else:
                self._read_pair(table)
        return self.positions

    def _peek(self) -> str:
        return self.tokens[self.place][0] if self.place < len(self.tokens) else ""

    def _read_header(self) -> Path:
        """Reads `[a.b]` or `[[a.b]]`, and returns the path of the table that it opens."""
        is_array = self.tokens[self.place + 1][0] == "["
        self.place += 2 if is_array else 1
        parts = self._read_key("]")
        self.place += 1 if is_array else 0
        path: Path = ()
        for index, (part, position) in enumerate(parts):
            path = self._note((*path, part), position)
            if is_array and index == len(parts) - 1:
                self.table_counts[path] = self.table_counts.get(path, 0) + 1
            if path in self.table_counts:
                path = self._note((*path, self.table_counts[path] - 1), position)
        return path

    def _read_pair(self, table: Path) -> None:
        """Reads `a.b = value` in a table."""
        path = table
        for part, position in self._read_key("="):
            path = self._note((*path, part), position)
        self._read_value(path)

    def _read_key(self, end: str) -> list[tuple[str, Position]]:
        """Reads the parts of a dotted key with their positions, and the token that ends it."""
        parts: list[tuple[str, Position]] = []
        while self._peek() != end:
            token, offset = self.tokens[self.place]
            if token != ".":
                parts.append((_unquote(token), self.lines.find_position(offset)))
            self.place += 1
        self.place += 1
        return parts

    def _read_value(self, path: Path) -> None:
        """Reads one value, and notes what is in it."""
        token = self._peek()
        if token == "[":
            self._read_list(path)
        elif token == "{":
            self._read_inline_table(path)
        else:
            while self._peek() not in ("\n", ",", "]", "}", ""):
                self.place += 1

    def _read_list(self, path: Path) -> None:
        index = 0
        self.place += 1
        while self._peek() != "]":
            if self._peek() in ("\n", ","):
                self.place += 1
                continue
            item = self._note((*path, index), self.lines.find_position(self.tokens[self.place][1]))
            index += 1
            self._read_value(item)
            while self._peek() == "\n":
                self.place += 1
        self.place += 1

    def _read_inline_table(self, path: Path) -> None:
        self.place += 1
        while self._peek() != "}":
            if self._peek() in ("\n", ","):
                self.place += 1
            else:
                self._read_pair(path)
        self.place += 1

    def _note(self, path: Path, position: Position) -> Path:
        """Notes where a path is first named, and returns it."""
        self.positions.setdefault(path, position)
        return path


def _unquote(token: str) -> str:
    """Returns what a part of a key says without its quotes."""
    if token[0] not in "\"'":
        return token
    return next(iter(tomllib.loads(f"{token} = 1")))
