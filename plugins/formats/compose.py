"""Makes a pair out of two answers that a format has found, read as the shape they have with the row's prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from prefd.plugins.formats import explicit, hh, implicit_messages
from prefd.plugins.formats.chats import is_transcript
from prefd.plugins.formats.contract import columns_of, read_usable_row
from prefd.plugins.formats.fields import is_conversation
from prefd.plugins.formats.prompt import naming_prompt
from prefd.plugins.formats.sides import Sides
from prefd.plugins.types import Pair, UnclearRow, UnusableRow

T = TypeVar("T")


def gather(attempts: Iterable[Callable[[], T]]) -> tuple[list[T], list[UnusableRow]]:
    """Collects what the attempts give, and why others fail. Raises the first reason where all fail."""
    results: list[T] = []
    reasons: list[UnusableRow] = []
    for attempt in attempts:
        try:
            results.append(attempt())
        except UnusableRow as reason:
            reasons.append(reason)
    if not results:
        raise reasons[0]
    return results, reasons


def compose(row: Mapping[str, Any], sides: Sides) -> tuple[Pair, frozenset[str]]:
    """Makes the pair of `sides` after the row's prompt, and names the columns it is made of. Raises `UnusableRow`."""
    known_row = read_usable_row(row, sides)
    prompt, answers = known_row.values["prompt"], (known_row.values["chosen"], known_row.values["rejected"])
    are_texts = all(isinstance(answer, str) for answer in answers)
    if (is_transcript(prompt) and are_texts) or (prompt is None and all(map(is_transcript, answers))):
        pair_of = hh.pair_of
    elif all(map(is_conversation, answers)):
        pair_of = implicit_messages.pair_of
    elif prompt is None:
        naming = naming_prompt(row, sides.columns) or "give each row its prompt (a column 'prompt')"
        raise UnclearRow(f"no column is known to be the prompt; {naming}")
    else:
        pair_of = explicit.pair_of
    return pair_of(row, known_row), columns_of(row, sides)
