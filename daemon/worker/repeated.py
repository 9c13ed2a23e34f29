"""Pairs that are there more than once, contradict each other, repeat their prompt or have no answer: told, and trained on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

from prefd.daemon.worker.dataset import Dataset
from prefd.plugins.formats.chats import squeezed
from prefd.plugins.formats.prompt import answer_text
from prefd.plugins.types import Pair

Key = tuple[bytes, bytes]
GONE = frozenset(["nan", "NaN", "None", "<NA>", "NaT", "null", "NULL"])


def tell_repeated(made: Dataset) -> None:
    """Says which rows repeat a pair, have another's answers the other way round, or no answer but their prompt or `nan`."""
    first: dict[Key, int] = {}
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
    gone = [number for number, pair in made.pairs if _is_gone(pair.chosen) or _is_gone(pair.rejected)]
    if gone:
        pairs = "1 pair" if len(gone) == 1 else f"{len(gone)} pairs"
        made.notes.append(
            f"in {pairs} one side is 'nan' or 'None', as a table without a value writes it, and is trained on as an answer "
            f"({made.name_rows(gone)})"
        )
    if echoes:
        pairs = "1 pair" if len(echoes) == 1 else f"{len(echoes)} pairs"
        made.notes.append(f"in {pairs} one side only repeats the prompt ({made.name_rows(echoes)})")


def repeated_across(
    datasets: Sequence[Sequence[tuple[int, Pair]]], name_rows: Callable[[Sequence[int]], str]
) -> list[str]:
    """What is said of pairs that another one of `datasets` has too, or has with its answers the other way round."""
    first: dict[Key, tuple[int, int]] = {}
    again: list[int] = []
    for place, pairs in enumerate(datasets):
        for number, pair in pairs:
            if first.setdefault(_key(pair), (place, number))[0] != place:
                again.append(number)
    against = sorted(
        number
        for (one, other), (place, number) in first.items()
        if first.get((other, one), (place, number))[0] != place
    )
    notes = []
    if again:
        pairs_of = "1 pair repeats one" if len(again) == 1 else f"{len(again)} pairs repeat ones"
        notes.append(f"{pairs_of} of another dataset ({name_rows(again)})")
    if against:
        notes.append(
            f"{len(against)} pairs of different datasets contradict each other: what one prefers another rejects, for the "
            f"same prompt ({name_rows(against)})"
        )
    return notes


def _key(pair: Pair) -> Key:
    """The pair as its two sides, each behind the prompt."""
    return _side(pair, pair.chosen), _side(pair, pair.rejected)


def _side(pair: Pair, side: Any) -> bytes:
    text = json.dumps([pair.prompt, side, pair.tools, pair.chat_template_kwargs], sort_keys=True, default=str)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _is_gone(side: Any) -> bool:
    """Whether a side says just what pandas or Python write for a value that is missing."""
    return answer_text(side).strip() in GONE


def _repeats_prompt(pair: Pair) -> bool:
    """Whether a side says just what the prompt or its last message does."""
    asked = squeezed(answer_text(pair.prompt))
    return bool(asked) and asked in (squeezed(answer_text(pair.chosen)), squeezed(answer_text(pair.rejected)))
