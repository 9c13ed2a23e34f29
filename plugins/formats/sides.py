"""Finds the two sides of a pair, whatever their columns are called, as `answer` and `rejected_answer`.

A pair of names is taken only where they themselves say which side is the better one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from prefd.plugins.formats.chats import as_chat
from prefd.plugins.formats.fields import is_messages, is_text
from prefd.plugins.formats.names import key_of, side_of

KNOWN = (("response_j", "response_k"), ("y_w", "y_l"))
"""The better one first: lvwerra/stack-exchange-paired's, and the papers' winner and loser."""
CONVERSATIONS = ("messages", "conversation", "conversations")


class Sides(NamedTuple):
    """The values of both sides, chat messages made uniform."""

    chosen: Any
    rejected: Any
    columns: frozenset[str]
    prompt: Any = None
    """What comes before the chosen side, where that is the last answer of a conversation."""


def find_sides(row: Mapping[str, Any]) -> Sides | None:
    """Finds the sides of `row`; None where no two columns are them."""
    columns = named_sides(row) or named_sides(column for column in row if _may_be_side(row[column]))
    if columns is None:
        return None
    chosen, rejected = (as_chat(row[column]) for column in columns)
    if columns[0] not in CONVERSATIONS or side_of(columns[0]) == "chosen":
        return Sides(chosen, rejected, frozenset(columns))
    if not is_messages(chosen) or not chosen or chosen[-1]["role"] != "assistant" or not is_text(rejected):
        return None
    if is_messages(rejected) and rejected and rejected[0]["role"] != "assistant":
        return Sides(chosen, rejected, frozenset(columns))  # two whole conversations
    return Sides(chosen[-1:], rejected, frozenset(columns), chosen[:-1])


def has_worse_side(row: Mapping[str, Any]) -> bool:
    """Says whether a text is named as the worse answer: then nothing else says which one is."""
    return any(side_of(column) == "rejected" and _may_be_side(row[column]) for column in row)


def _may_be_side(value: Any) -> bool:
    chat = as_chat(value)
    return is_text(chat) and len(chat) > 0


def named_sides(columns: Iterable[str]) -> tuple[str, str] | None:
    """Finds the two of `columns` that are named as the sides of a pair."""
    return _named(tuple(sorted(columns)))


@lru_cache(maxsize=1024)
def _named(columns: tuple[str, ...]) -> tuple[str, str] | None:
    if {"chosen", "rejected"} <= set(columns):
        return "chosen", "rejected"
    by_key = {key_of(column): column for column in columns}
    better, worse, answers = (
        [column for column in columns if side_of(column) == side] for side in ("chosen", "rejected", "answer")
    )
    if len(better) == len(worse) == 1:
        return better[0], worse[0]
    if len(worse) == 1 and not better:
        answer_columns = answers or [by_key[key] for key in CONVERSATIONS if key in by_key]
        return (answer_columns[0], worse[0]) if len(answer_columns) == 1 else None
    known_pairs = [pair for pair in KNOWN if set(pair) <= by_key.keys()]
    if not better and not worse and len(known_pairs) == 1:
        return by_key[known_pairs[0][0]], by_key[known_pairs[0][1]]
    return None
