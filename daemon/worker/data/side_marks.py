"""Tells of columns that say of the pair as a whole, or of its sides, that the rejected answer is the better one."""

from __future__ import annotations

from typing import Any

from prefd.daemon.worker.data.dataset import Dataset
from prefd.plugins.formats.answers import as_number
from prefd.plugins.formats.names import ANSWERS, BETTER, WORSE, words_of

MARGINS = frozenset(["margin", "margins", "gap", "diff", "difference", "delta"])
"""Words of the difference between the two sides, above 0 where the chosen one is ahead."""
OF_MARGIN = frozenset(
    [
        "score",
        "scores",
        "reward",
        "rewards",
        "rating",
        "ratings",
        "preference",
        "chosen",
        "rejected",
        "rm",
        "quality",
        "overall",
    ]
)
GOOD = frozenset(
    [
        "correct",
        "safe",
        "valid",
        "acceptable",
        "accepted",
        "passed",
        "right",
        "good",
        "helpful",
        "verified",
        "successful",
    ]
)
"""Words of what is so of the better answer, rather than of the worse one."""
PLAIN = frozenset(["is", "was", "are", "answer", "response"]) | ANSWERS
YES, NO = frozenset(["true", "yes"]), frozenset(["false", "no"])


def note_side_marks(dataset: Dataset) -> None:
    """Notes the pairs of which a margin below 0, or a yes of the rejected side alone, says the opposite."""
    columns = [column for column in dataset.named_rows.columns if column not in dataset.named_rows.joined_columns]
    rows = [
        (number, dataset.named_rows.usable[number]) for number in dict.fromkeys(number for number, _ in dataset.pairs)
    ]
    for column in columns:
        if _is_margin(column) and (
            numbers := [number for number, row in rows if (as_number(row.get(column)) or 0) < 0]
        ):
            _note(dataset, numbers, f"{column} is below 0")
        if _is_claim(column) and (numbers := [number for number, row in rows if _yes_or_no(row.get(column)) is False]):
            _note(dataset, numbers, f"{column} is false")
    for chosen, rejected in _pairs_of_columns(columns):
        numbers = [
            number
            for number, row in rows
            if _yes_or_no(row.get(chosen)) is False and _yes_or_no(row.get(rejected)) is True
        ]
        if numbers:
            _note(dataset, numbers, f"{chosen} is false and {rejected} true")


def _note(dataset: Dataset, numbers: list[int], finding: str) -> None:
    pairs = "pair" if len(numbers) == 1 else "pairs"
    dataset.notes.append(
        f"in {len(numbers)} {pairs} {finding}, by which the rejected answer is the better one ({dataset.name_rows(numbers)})"
    )


def _is_margin(column: str) -> bool:
    words = words_of(column)
    return not MARGINS.isdisjoint(words[-1:]) and set(words) <= MARGINS | OF_MARGIN


def _is_claim(column: str) -> bool:
    """Says whether a name says that the chosen side is better, as `is_chosen_better` and `chosen_is_better`."""
    words = words_of(column)
    return (
        "chosen" in words
        and "is" in words
        and set(words) <= {"chosen", "is", "better", "preferred", "best"}
        and len(words) > 2
    )


def _pairs_of_columns(columns: list[str]) -> list[tuple[str, str]]:
    """The columns that say the same of both sides, as `chosen_correct` and `rejected_is_correct`."""
    by_side = [
        {words: column for column in columns if (words := _without(column, side)) is not None}
        for side in (BETTER, WORSE)
    ]
    return [
        (by_side[0][words], by_side[1][words]) for words in sorted(by_side[0].keys() & by_side[1].keys(), key=sorted)
    ]


def _without(column: str, side: frozenset[str]) -> frozenset[str] | None:
    """Says what a column says of one side, in words; None where it is of none, or says nothing that is good of it."""
    words = frozenset(words_of(column))
    others = words - side - PLAIN
    return others if words & side and others and others <= GOOD else None


def _yes_or_no(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    return True if word in YES else False if word in NO else None
