"""Reads a row's columns as texts, messages and settings, with chat messages made uniform (`messages.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from prefd.plugins.formats.messages import (
    check_prose,
    decode_messages,
    parse_json,
    text_of_parts,
    uniform_message,
    uniform_tools,
)
from prefd.plugins.types import Message, Pair, Text, UnusableRow

NAMES = {bool: "a boolean", int: "a number", float: "a number", str: "text", dict: "an object", type(None): "missing"}


def is_messages(value: Any) -> TypeGuard[Sequence[Message]]:
    """Says whether `value` is a list of `{role, content}` messages (an empty list is one too)."""
    return isinstance(value, list | tuple) and all(
        isinstance(message, Mapping) and isinstance(message.get("role"), str) and _is_content(message.get("content"))
        for message in value
    )


def is_text(value: Any) -> TypeGuard[Text]:
    """Says whether `value` is a string or chat messages."""
    return isinstance(value, str) or is_messages(value)


def is_conversation(value: Any) -> TypeGuard[Sequence[Message]]:
    """Says whether `value` is messages that begin with another's than the assistant's: it holds its own prompt."""
    return is_messages(value) and len(value) > 0 and value[0]["role"] != "assistant"


def read_text(row: Mapping[str, Any], column: str) -> Text:
    """Reads the column's string, or its messages made uniform. Raises `UnusableRow` where it is neither."""
    value = decode_messages(row.get(column))
    if isinstance(value, str):
        check_prose(value)
        return text_of_parts(value)
    if is_messages(value):
        return [uniform_message(message) for message in value]
    raise UnusableRow(f"wrong types: {_fault(value) or f'{column} is {kind_of(value)}, not text or chat messages'}")


def _fault(value: Any) -> str | None:
    """Says what is wrong with messages that are none; None for what never was meant for some."""
    if not isinstance(value, list | tuple) or not all(isinstance(message, Mapping) for message in value):
        return None
    for message in value:
        if "role" not in message:
            listed = ", ".join(map(str, message)) or "nothing"
            return f"messages need role and content; these have {listed}"
        if not isinstance(message["role"], str):
            return f"a message's role is {kind_of(message['role'])}"
        if not _is_content(message.get("content")):
            return f"the content of {message['role']!r} is {kind_of(message['content'])}, not text"
    return None


def finish(row: Mapping[str, Any], prompt: Text, chosen: Text, rejected: Text) -> Pair:
    """Makes the pair with the row's optional columns.

    Raises `UnusableRow` for empty or identical sides, and for messages that were written as text.
    """
    for text in (prompt, chosen, rejected):
        if isinstance(text, str):
            check_prose(text)
    for side in (chosen, rejected):
        if is_empty(side):
            raise UnusableRow("empty completion")
    if chosen == rejected:
        raise UnusableRow("identical sides")
    kwargs = _parsed(row, "chat_template_kwargs", dict) or {}
    template_kwargs = {name: value for name, value in kwargs.items() if value is not None}
    return Pair(prompt, chosen, rejected, read_tools(row), template_kwargs)


def read_tools(row: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """Reads the row's tools, also where they are JSON text; None where it has none. Raises `UnusableRow`."""
    tools = _parsed(row, "tools", list)
    return uniform_tools(tools) if tools else None


def is_empty(side: Text) -> bool:
    """Says whether `side` has nothing to learn from: its last message has no text and no tool call."""
    if isinstance(side, str):
        return not side.strip()
    return not side or (not content_text(side[-1]).strip() and not side[-1].get("tool_calls"))


def content_text(message: Message) -> str:
    """Gives a message's text, also where its content is a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(part if isinstance(part, str) else str(part.get("text") or "") for part in content or ())


def kind_of(value: Any) -> str:
    """Names the type of `value` in a user's words."""
    if isinstance(value, list | tuple):
        return "a list"
    return NAMES.get(type(value), type(value).__name__)


def _is_content(value: Any) -> bool:
    """Text, nothing (a tool call alone), or a list of parts."""
    if isinstance(value, list | tuple):
        return all(isinstance(part, Mapping | str) for part in value)
    return value is None or isinstance(value, str)


def _parsed(row: Mapping[str, Any], column: str, expected: type) -> Any:
    """An optional column that holds a list or an object, or the JSON text of one."""
    value = row.get(column)
    if isinstance(value, str):
        if not value.strip():
            return None
        try:
            value = parse_json(value)
        except UnusableRow as reason:
            raise UnusableRow(f"in {column} {reason}") from None
        except (ValueError, RecursionError):
            raise UnusableRow(f"wrong types: {column} is text that is not JSON") from None
    if value is None:
        return None
    if not isinstance(value, expected):
        raise UnusableRow(
            f"wrong types: {column} is {kind_of(value)}, not {'a list' if expected is list else 'an object'}"
        )
    return value
