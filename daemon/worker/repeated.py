"""Pairs that are there more than once, and pairs that say the opposite of each other: told, and trained on as they are."""

from __future__ import annotations

import json
from typing import Any

from prefd.daemon.worker.dataset import Dataset
from prefd.plugins.types import Pair


def tell_repeated(made: Dataset) -> None:
    """Says which rows repeat a pair, and which have another's answers the other way round."""
    first: dict[tuple[str, str], int] = {}
    again: list[int] = []
    for number, pair in made.pairs:
        if first.setdefault(_key(pair), number) != number:
            again.append(number)
    against = sorted({number for (one, other), number in first.items() if (other, one) in first})
    if again:
        pairs = "1 pair repeats an earlier one" if len(again) == 1 else f"{len(again)} pairs repeat earlier ones"
        made.notes.append(f"{pairs} ({made.name_rows(again)})")
    if against:
        made.notes.append(
            f"{len(against)} pairs contradict each other: what one prefers another rejects, for the same prompt "
            f"({made.name_rows(against)})"
        )


def _key(pair: Pair) -> tuple[str, str]:
    """The pair as its two sides, each behind the prompt."""
    return _side(pair, pair.chosen), _side(pair, pair.rejected)


def _side(pair: Pair, side: Any) -> str:
    return json.dumps([pair.prompt, side, pair.tools, pair.chat_template_kwargs], sort_keys=True, default=str)
