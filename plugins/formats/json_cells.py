"""Decodes the JSON text of what a table or another format would hold as lists and objects, by the name of its column.

So a row means the same whatever file it stands in: messages in any column, turns in a prompt's, answers and their scores.
Any other text stays the text that it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefd.plugins.formats.chats import as_chat
from prefd.plugins.formats.fields import is_messages, is_text
from prefd.plugins.formats.messages import decode_messages, parse_json
from prefd.plugins.formats.names import LISTS, PROMPTS, key_of, words_of
from prefd.plugins.formats.prompt import INSIDE, keys_beside_text
from prefd.plugins.formats.score_words import RANKS, SCORES

PLURALS = frozenset(name for name in (*SCORES, *RANKS) if name.endswith("s") and name != "helpfulness")
"""Names of lists of scores or ranks."""


def decode_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Decodes the cells of `row` that are JSON text of messages, turns, answers or scores."""
    return {column: _decode_cell(column, decode_messages(value)) for column, value in row.items()}


def _decode_cell(column: str, value: Any) -> Any:
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        decoded = parse_json(value)
    except (ValueError, RecursionError):
        return value
    return decoded if _is_meant(column, decoded) else value


def _is_meant(column: str, decoded: Any) -> bool:
    """Says whether a column of this name holds such a list or object where no file makes it text."""
    is_prompt, last_word = key_of(column) in PROMPTS, words_of(column)[-1:]
    if isinstance(decoded, Mapping):  # summarize_from_feedback's post, WebGPT's question
        holds_prompt = any(isinstance(decoded.get(key), str) for key in INSIDE) and not keys_beside_text(decoded)
        return key_of(column) == "info" or (is_prompt and holds_prompt)
    if not isinstance(decoded, list) or not last_word:
        return False
    if not decoded:
        return is_prompt or last_word[0] in LISTS | PLURALS | {"history", "tools"}
    if last_word[0] in LISTS:
        return all(isinstance(item, Mapping) or is_text(as_chat(item)) for item in decoded)
    if last_word[0] in PLURALS:
        return all(isinstance(item, int | float | None) for item in decoded)
    return (is_prompt or last_word[0] == "history") and is_messages(as_chat(decoded))
