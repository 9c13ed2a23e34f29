"""Finds the two sides of a pair, whatever their columns are called, as `answer` and `rejected_answer`.

A pair of names is taken only where they themselves say which side is the better one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from prefd.plugins.formats.answers import find_answers
from prefd.plugins.formats.chats import as_chat
from prefd.plugins.formats.fields import is_messages, is_text
from prefd.plugins.formats.names import key_of, side_of
from prefd.plugins.formats.prompt import is_blank
from prefd.plugins.formats.verdicts import verdicts

KNOWN = (("response_j", "response_k"), ("y_w", "y_l"))
"""The better one first: lvwerra/stack-exchange-paired's, and the papers' winner and loser."""
CONVERSATIONS = ("messages", "conversation", "conversations")


class Sides(NamedTuple):
    """Sides holds the values of both sides, chat messages made uniform."""

    chosen: Any
    rejected: Any
    columns: frozenset[str]
    prompt: Any = None
    """What comes before the chosen side, where that is the last answer of a conversation."""


def find_sides(row: Mapping[str, Any]) -> Sides | None:
    """Finds the sides of `row`; None where no two columns are them."""
    columns = named_sides(row) or named_sides(column for column in row if _may_be_side(row[column]))
    if columns is None or (columns == known_sides(row) and _are_judged(row)):
        return None
    chosen, rejected = (as_chat(row[column]) for column in columns)
    if columns[0] not in CONVERSATIONS or side_of(columns[0]) == "chosen":
        return Sides(chosen, rejected, frozenset(columns))
    if not is_messages(chosen) or not chosen or chosen[-1]["role"] != "assistant" or not is_text(rejected):
        return None
    if is_messages(rejected) and rejected and rejected[0]["role"] != "assistant":
        return Sides(chosen, rejected, frozenset(columns))  # two whole conversations
    return Sides(chosen[-1:], rejected, frozenset(columns), chosen[:-1])


def _are_judged(row: Mapping[str, Any]) -> bool:
    """Says whether a column says which answer won: then `response_j` and `response_k` may be two letters like any others."""
    return find_answers(row) is not None and any(not is_blank(row[column]) for column in verdicts(row))


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
    return known_sides(columns) if not better and not worse else None


def known_sides(columns: Iterable[str]) -> tuple[str, str] | None:
    """Finds the two of `columns` that are known as the better and the worse one; None where there are not just two."""
    by_key = {key_of(column): column for column in columns}
    known_pairs = [(by_key[better], by_key[worse]) for better, worse in KNOWN if {better, worse} <= by_key.keys()]
    return known_pairs[0] if len(known_pairs) == 1 else None
