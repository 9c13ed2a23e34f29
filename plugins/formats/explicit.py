"""`{prompt, chosen, rejected}`: the prompt has its own column. Strings or chat messages, also mixed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prefd.plugins.formats.fields import finish, is_conversation, is_text, read_text
from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import Pair, RowFormat, UnusableRow


class Explicit:
    """Each side is the answer alone: a string, or the messages after the prompt.

    Sides that are whole conversations hold the prompt again, whatever the prompt column says: those rows are
    `implicit_messages`.
    """

    def matches(self, row: Mapping[str, Any]) -> bool:
        chosen, rejected = row.get("chosen"), row.get("rejected")
        return (
            is_text(row.get("prompt"))
            and is_text(chosen)
            and is_text(rejected)
            and not is_conversation(chosen)
            and not is_conversation(rejected)
        )

    def pair(self, row: Mapping[str, Any]) -> Pair:
        prompt, chosen, rejected = (read_text(row, column) for column in ("prompt", "chosen", "rejected"))
        if is_conversation(chosen) or is_conversation(rejected):
            raise UnusableRow("a side begins before the answer")
        return finish(row, prompt, chosen, rejected)


@hookimpl
def register_formats(register: Callable[[str, RowFormat], None]) -> None:
    register("explicit", Explicit())
