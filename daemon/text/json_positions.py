"""Finds where in a JSON text each value is, which `json` does not tell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from prefd.daemon.text.text_fault import LineStarts, Position
from prefd.daemon.text.wording import Path

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)


def iterate_json_positions(text: str) -> Iterator[tuple[Path, Position]]:
    """Yields each path in a text that `json` has read, in its order, with its position; a repeated key once more."""
    lines = LineStarts(text)
    path: list[str | int] = []
    """Of each open container, the key or index that is next in it."""
    in_list: list[bool] = []
    wants_key = False
    for match in TOKEN.finditer(text):
        token = match[0]
        if token in ("]", "}"):
            in_list.pop()
            path.pop()
        elif token == ",":
            if in_list[-1]:
                path[-1] = int(path[-1]) + 1
            wants_key = not in_list[-1]
        elif wants_key and token != ":":
            path[-1] = json.loads(token, strict=False)
            yield tuple(path), lines.find_position(match.start())
            wants_key = False
        elif token != ":":
            if in_list and in_list[-1]:
                yield tuple(path), lines.find_position(match.start())
            if token in ("[", "{"):
                in_list.append(token == "[")
                path.append(0)
                wants_key = token == "{"
