"""Pairs that are there more than once, say the opposite of each other, or repeat their prompt: told, and trained on as they are."""

from __future__ import annotations

import json
from typing import Any

from prefd.daemon.worker.dataset import Dataset
from prefd.plugins.formats.chats import squeezed
from prefd.plugins.formats.prompt import answer_text
from prefd.plugins.types import Pair


def tell_repeated(made: Dataset) -> None:
    """Says which rows repeat a pair, have another's answers the other way round, or no answer but their prompt."""
    first: dict[tuple[str, str], int] = {}
    again: list[int] = []
    for number, pair in made.pairs:
        if first.setdefault(_key(pair), number) != number:
            again.append(number)
    echoes = [number for number, pair in made.pairs if _repeats_prompt(pair)]
    against = sorted({number for (one, other), number in first.items() if (other, one) in first})
    if again:
        pairs = "1 pair repeats an earlier one" if len(again) == 1 else f"{len(again)} pairs repeat earlier ones"
        made.notes.append(f"{pairs} ({made.name_rows(again)})")
    if against:
        made.notes.append(
            f"{len(against)} pairs contradict each other: what one prefers another rejects, for the same prompt "
            f"({made.name_rows(against)})"
        )
    if echoes:
        pairs = "1 pair" if len(echoes) == 1 else f"{len(echoes)} pairs"
        made.notes.append(f"in {pairs} one side only repeats the prompt ({made.name_rows(echoes)})")


def _key(pair: Pair) -> tuple[str, str]:
    """The pair as its two sides, each behind the prompt."""
    return _side(pair, pair.chosen), _side(pair, pair.rejected)


def _side(pair: Pair, side: Any) -> str:
    return json.dumps([pair.prompt, side, pair.tools, pair.chat_template_kwargs], sort_keys=True, default=str)


def _repeats_prompt(pair: Pair) -> bool:
    """Whether a side says just what the prompt or its last message does."""
    asked = squeezed(answer_text(pair.prompt))
    return bool(asked) and asked in (squeezed(answer_text(pair.chosen)), squeezed(answer_text(pair.rejected)))
