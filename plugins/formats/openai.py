"""Reads OpenAI's preference files: `input` with messages and tools, `preferred_output`, `non_preferred_output`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prefd.plugins.formats.compose import compose
from prefd.plugins.formats.fields import is_messages
from prefd.plugins.formats.row_shape import RowShape
from prefd.plugins.formats.sides import find_sides
from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import Pair, RowFormat, UnusableRow

PRECEDENCE = 100
ROW_SHAPES = (
    RowShape(
        "`input: {messages, tools}`, `preferred_output`, `non_preferred_output`",
        "`messages` are the prompt, each output an answer",
        "OpenAI's preference files",
    ),
)
SETTINGS = frozenset(["messages", "tools", "parallel_tool_calls", "tool_choice"])
"""Keys of `input` that are read, or that only OpenAI's service has a use for."""


class OpenAI:
    """Takes `input.messages` as the prompt, and each output as the messages after it."""

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Says whether `row` has an `input` with messages, and two sides."""
        source = row.get("input")
        return isinstance(source, Mapping) and is_messages(source.get("messages")) and find_sides(row) is not None

    def pair(self, row: Mapping[str, Any]) -> Pair:
        """Makes the pair of `row`. Raises `UnusableRow`."""
        flat = _flat(row)
        sides = find_sides(flat)
        if sides is None:
            raise UnusableRow("no preferred_output and non_preferred_output beside its input")
        return compose(flat, sides)[0]

    def columns(self, row: Mapping[str, Any]) -> frozenset[str]:
        """Names the columns of `row` that its pair is made of."""
        flat = _flat(row)
        sides = find_sides(flat)
        columns_read = frozenset() if sides is None else compose(flat, sides)[1]
        return (columns_read - {"prompt", "tools"}) | {"input"} | (frozenset(["tools"]) & row.keys())


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its prompt and tools in columns of their own."""
    source = row.get("input")
    if not isinstance(source, Mapping) or not is_messages(source.get("messages")):
        raise UnusableRow("input is not an object with messages")
    if unknown := sorted(key for key in source.keys() - SETTINGS if source[key] is not None):
        raise UnusableRow(f"input has {', '.join(unknown)} beside messages and tools")
    other_columns = {column: value for column, value in row.items() if column != "input"}
    return {"tools": source.get("tools")} | other_columns | {"prompt": source["messages"]}


@hookimpl
def register_formats(register: Callable[[str, RowFormat], None]) -> None:
    """Registers `openai`."""
    register("openai", OpenAI())
