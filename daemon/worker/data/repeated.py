"""Notes pairs that repeat or contradict each other, repeat their prompt or have no answer; they are trained on as they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

from prefd.daemon.worker.data.dataset import Dataset
from prefd.plugins.formats.chats import squeeze_blanks
from prefd.plugins.formats.prompt import answer_text
from prefd.plugins.types import Pair

Key = tuple[bytes, bytes]
MISSING_VALUES = frozenset(["nan", "NaN", "None", "<NA>", "NaT", "null", "NULL", "[]", "{}"])
"""What pandas or Python write for a value that is missing."""


def note_repeated_pairs(dataset: Dataset) -> None:
    """Notes which rows repeat a pair, have another's answers the other way round, or have no answer of their own."""
    first_rows: dict[Key, int] = {}
    repeated_rows: list[int] = []
    for number, pair in dataset.pairs:
        if first_rows.setdefault(_key(pair), number) != number:
            repeated_rows.append(number)
    contradicting_rows = sorted(
        {number for (chosen, rejected), number in first_rows.items() if (rejected, chosen) in first_rows}
    )
    if repeated_rows:
        pairs = (
            "1 pair repeats an earlier one"
            if len(repeated_rows) == 1
            else f"{len(repeated_rows)} pairs repeat earlier ones"
        )
        dataset.notes.append(f"{pairs} ({dataset.name_rows(repeated_rows)})")
    if contradicting_rows:
        dataset.notes.append(
            f"{len(contradicting_rows)} pairs contradict each other: what one prefers another rejects, for the same prompt "
            f"({dataset.name_rows(contradicting_rows)})"
        )
    _note_sides_that_answer_nothing(dataset)


def _note_sides_that_answer_nothing(dataset: Dataset) -> None:
    for says_so, problem in (
        (_misses_side, "is 'nan' or 'None', as a table without a value writes it, and is trained on as an answer"),
        (_repeats_prompt, "only repeats the prompt"),
    ):
        if rows := [number for number, pair in dataset.pairs if says_so(pair)]:
            dataset.notes.append(f"in {_count(rows)} one side {problem} ({dataset.name_rows(rows)})")
    if rows := [number for number, pair in dataset.pairs if _misses_prompt(pair)]:
        dataset.notes.append(
            f"in {_count(rows)} the prompt is or ends with 'nan' or 'None' on a line of its own, as a table without a value writes "
            f"it ({dataset.name_rows(rows)})"
        )


def _count(rows: Sequence[int]) -> str:
    return "1 pair" if len(rows) == 1 else f"{len(rows)} pairs"


def note_repeats_across(
    datasets: Sequence[Sequence[tuple[int, Pair]]], name_rows: Callable[[Sequence[int]], str]
) -> list[str]:
    """Writes notes on pairs that another of `datasets` has too, or has with its answers the other way round."""
    first_rows: dict[Key, tuple[int, int]] = {}
    repeated_rows: list[int] = []
    for place, pairs in enumerate(datasets):
        for number, pair in pairs:
            if first_rows.setdefault(_key(pair), (place, number))[0] != place:
                repeated_rows.append(number)
    contradicting_rows = sorted(
        number
        for (chosen, rejected), (place, number) in first_rows.items()
        if first_rows.get((rejected, chosen), (place, number))[0] != place
    )
    notes = []
    if repeated_rows:
        pairs_of = "1 pair repeats one" if len(repeated_rows) == 1 else f"{len(repeated_rows)} pairs repeat ones"
        notes.append(f"{pairs_of} of another dataset ({name_rows(repeated_rows)})")
    if contradicting_rows:
        notes.append(
            f"{len(contradicting_rows)} pairs of different datasets contradict each other: what one prefers another rejects, for the "
            f"same prompt ({name_rows(contradicting_rows)})"
        )
    return notes


def _key(pair: Pair) -> Key:
    """The pair as its two sides, each behind the prompt."""
    return _side(pair, pair.chosen), _side(pair, pair.rejected)


def _side(pair: Pair, side: Any) -> bytes:
    text = json.dumps([pair.prompt, side, pair.tools, pair.chat_template_kwargs], sort_keys=True, default=str)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _misses_side(pair: Pair) -> bool:
    """Says whether a side says just what stands for a value that is missing."""
    return any(answer_text(side).strip() in MISSING_VALUES for side in (pair.chosen, pair.rejected))


def _misses_prompt(pair: Pair) -> bool:
    """Says whether the prompt, or the last of the texts that were joined to it, is just what stands for a missing value."""
    return answer_text(pair.prompt).strip().rpartition("\n")[2] in MISSING_VALUES


def _repeats_prompt(pair: Pair) -> bool:
    """Says whether a side says just what the prompt or its last message does."""
    prompt_text = squeeze_blanks(answer_text(pair.prompt))
    return bool(prompt_text) and prompt_text in (
        squeeze_blanks(answer_text(pair.chosen)),
        squeeze_blanks(answer_text(pair.rejected)),
    )
