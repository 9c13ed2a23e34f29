"""A pair out of two answers that a format has found, read as the shape they have with the row's prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from prefd.plugins.formats import explicit, hh, implicit_messages
from prefd.plugins.formats.chats import as_chat, is_transcript
from prefd.plugins.formats.contract import columns_of, readable
from prefd.plugins.formats.fields import is_conversation, is_text
from prefd.plugins.formats.names import is_metadata
from prefd.plugins.formats.prompt import is_blank
from prefd.plugins.formats.sides import Sides
from prefd.plugins.types import Pair, UnclearRow, UnusableRow

T = TypeVar("T")


def gather(attempts: Iterable[Callable[[], T]]) -> tuple[list[T], list[UnusableRow]]:
    """What the attempts give, and why some give nothing. Raises the first reason where none gives anything."""
    found: list[T] = []
    reasons: list[UnusableRow] = []
    for attempt in attempts:
        try:
            found.append(attempt())
        except UnusableRow as reason:
            reasons.append(reason)
    if not found:
        raise reasons[0]
    return found, reasons


def compose(row: Mapping[str, Any], sides: Sides) -> tuple[Pair, frozenset[str]]:
    """The pair of `sides` after the row's prompt, and the columns it is made of. Raises `UnusableRow`."""
    found = readable(row, sides)
    prompt, both = found.values["prompt"], (found.values["chosen"], found.values["rejected"])
    if is_transcript(prompt) or (prompt is None and all(map(is_transcript, both))):
        pair_of = hh.pair_of
    elif all(map(is_conversation, both)):
        pair_of = implicit_messages.pair_of
    elif isinstance(prompt, str) and not prompt.strip():
        raise UnusableRow("empty prompt")
    elif prompt is None:
        raise UnclearRow(f"no column is known to be the prompt; {_naming(row, sides)}")
    else:
        pair_of = explicit.pair_of
    return pair_of(row, found), columns_of(row, sides)


def _naming(row: Mapping[str, Any], sides: Sides) -> str:
    """The setting that names the prompt's column, with those that may be it."""
    texts = [column for column in sorted(row) if column not in sides.columns and not is_metadata(column)]
    texts = [column for column in texts if is_text(as_chat(row[column])) and not is_blank(row[column])]
    if not texts:
        return "give each row its prompt (a column 'prompt')"
    return f"name it (data.prompt_feature: {' or '.join(texts)})"
