"""Finds the turns that both sides of a pair begin with: they are no part of what was preferred, so neither side learns them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from prefd.plugins.formats.nulls import without_unsure
from prefd.plugins.types import Message, Pair, UnusableRow

IDS = frozenset(["id", "index", "tool_call_id", "tool_calls"])
"""Keys of a message and its calls that say nothing; the calls themselves are compared apart."""


def count_shared_turns(pair: Pair) -> int:
    """Counts the messages that both sides begin with. Raises `UnusableRow` where that is all of one side alone."""
    if isinstance(pair.chosen, str) or isinstance(pair.rejected, str) or pair.chosen == pair.rejected:
        return 0
    shared = 0
    for message, other in zip(pair.chosen, pair.rejected):
        if _without_ids(message) != _without_ids(other):
            break
        shared += 1
    if shared and shared == min(len(pair.chosen), len(pair.rejected)) != max(len(pair.chosen), len(pair.rejected)):
        raise UnusableRow("one side is the start of the other")
    return 0 if shared == len(pair.chosen) else shared


def without_shared_weight(pair: Pair) -> Pair:
    """Gives `pair` with the assistant's turns that both sides begin with as ones to read and not to learn.

    The tokens stay the same, and so does the prompt: the cache knows them as before.
    """
    shared = count_shared_turns(pair)
    if not shared or isinstance(pair.chosen, str) or isinstance(pair.rejected, str):
        return pair
    chosen, rejected = ([*map(_without_weight, side[:shared]), *side[shared:]] for side in (pair.chosen, pair.rejected))
    return replace(pair, chosen=chosen, rejected=rejected)


def _without_ids(value: Any) -> Any:
    """A message without what only tells it from others, at any depth of its calls."""
    if isinstance(value, list | tuple):
        return [_without_ids(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    calls = _without_ids(value.get("tool_calls") or [])
    others = {key: item for key, item in without_unsure(value).items() if key not in IDS}
    return others | ({"tool_calls": calls} if calls else {})


def _without_weight(message: Message) -> Message:
    return {**message, "weight": 0} if message["role"] == "assistant" else message
