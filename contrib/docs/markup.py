"""The pieces of Markdown that generated pages are made of: tables, values as a spec writes them, bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a cell's bars are escaped."""
    lines = [list(header), ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def code(value: Any) -> str:
    """A value as it is written in a spec; nothing for none."""
    return "" if value is None else f"`{_written(value)}`"


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_written(each)}" for name, each in value.items()) + "}"
    return str(value) if value != "" else '""'


def bounds(schema: Mapping[str, Any]) -> list[str]:
    """The bounds of a number, such as `≥ 1`."""
    return [f"{sign} {_bound(schema[key])}" for key, sign in BOUNDS.items() if key in schema]


def _bound(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def part(text: str) -> str:
    """`text` as a part of a page, with an empty line before and after it."""
    return f"\n{text.strip()}\n\n"
