"""Finds the answer that a number means: its place, counted from 0 or from 1, or a signed strength.

A number is taken only where it can mean one answer: of 0 and 1 beside `response_a` and `response_b` nobody knows
whether 1 is the second, or says that the first won.
"""

from __future__ import annotations

from collections.abc import Sequence

from prefd.plugins.formats.answers import Answers
from prefd.plugins.formats.ballot import Ballot, explain_doubt, suggest_remedy
from prefd.plugins.formats.names import words_of
from prefd.plugins.formats.naming import FIRST, SECOND
from prefd.plugins.formats.numbering import numbered
from prefd.plugins.types import UnclearRow, UnusableRow

INDEX = frozenset(["index", "idx"])
YES_OR_NO = frozenset(
    [
        *FIRST,
        *SECOND,
        "is",
        "was",
        "has",
        "did",
        "does",
        "win",
        "wins",
        "won",
        "than",
        "if",
        "correct",
        "agree",
        "swap",
        "swapped",
        "flip",
        "flipped",
        "reverse",
        "reversed",
        "inverted",
    ]
)
"""Words of a column that says of one answer, or of their order, whether it is so: its numbers are no places."""
SHP = ("human_ref_A", "human_ref_B")
"""Of stanfordnlp/SHP: its `labels` is 1 where A was preferred."""


def find_by_sign(ballot: Ballot, amount: float, answers: Answers) -> int:
    """Finds the place of the winner by a strength. Raises `UnusableRow` for 0, `UnclearRow` where it may be none."""
    if len(answers.texts) != 2:
        raise UnclearRow(explain_doubt(ballot, amount, answers))
    if not ballot.below_0 and amount != 0 and not ballot.is_from_spec:
        raise UnclearRow(
            f"{ballot.name} is never below 0: it may be a strength or the number of an answer; {suggest_remedy(answers)}, or, where "
            f"it is a strength, below 0 for the first answer and above 0 for the second, name it (data.winner_feature: {ballot.name})"
        )
    if amount == 0:
        raise UnusableRow(f"a tie: {ballot.name} is 0")
    return 0 if amount < 0 else 1


def find_by_number(ballot: Ballot, value: int, answers: Answers) -> int:
    """Finds the place of the winner by its number. Raises `UnclearRow` where the number may mean several."""
    places = places_of_numbers(ballot, answers)
    if places is None:
        raise UnclearRow(explain_doubt(ballot, value, answers))
    if value not in places:
        raise UnusableRow(f"{ballot.name} {value} is none of {answers.listed}")
    return places[value]


def places_of_numbers(ballot: Ballot, answers: Answers) -> dict[int, int] | None:
    """Finds the place that each number means; None where that is not certain."""
    if not YES_OR_NO.isdisjoint(words_of(ballot.name)) or numbered(ballot.name) is not None:
        return None
    if answers.names and not _are_one_row_of_marks(answers.every or answers.marks):
        return None
    return _count_places(ballot, answers)


def is_shp(ballot: Ballot, answers: Answers) -> bool:
    """Says whether the answers are SHP's, and the column is its `labels`."""
    return answers.names == SHP and set(words_of(ballot.column)) <= {"label", "labels"}


def _count_places(ballot: Ballot, answers: Answers) -> dict[int, int] | None:
    """As `places_of_numbers`, of answers that can be counted through."""
    words, numbers = set(words_of(ballot.column)), ballot.numbers
    all_marks = answers.every or answers.marks
    place_of = {mark: place for place, mark in enumerate(answers.marks)}
    from_0 = {number: place_of[mark] for number, mark in enumerate(all_marks) if mark in place_of}
    from_1 = {number + 1: place for number, place in from_0.items()}
    all_from_0, all_from_1 = set(range(len(all_marks))), set(range(1, len(all_marks) + 1))
    if ballot.from_zero:
        return from_0
    if is_shp(ballot, answers):
        return {1: 0, 0: 1}
    if words & {"label", "labels"} and not ballot.is_from_spec:
        return None
    if answers.names and all(mark.isdigit() for mark in all_marks):
        marks = set(map(int, all_marks))
        if marks == all_from_1 and words & INDEX and 0 in numbers and numbers <= all_from_0:
            return from_0
        is_id = "id" in words and not words.isdisjoint(words_of(answers.names[0]))
        if marks == all_from_0 and 0 not in numbers and not words & INDEX and not is_id:
            return None  # they may count from 1
        if not numbers <= marks or (marks == all_from_1 and words & INDEX and len(all_marks) not in numbers):
            return None
        return {int(mark): place for mark, place in place_of.items()}
    if 0 not in numbers and len(all_marks) in numbers and numbers <= all_from_1:
        return from_1
    if 0 in numbers and numbers <= all_from_0 and (words & INDEX or not answers.names):
        return from_0
    return None


def _are_one_row_of_marks(marks: Sequence[str]) -> bool:
    """Says whether answers with these marks can be counted through: all numbers or none, and no letters that begin behind a."""
    if len({mark.isdigit() for mark in marks}) > 1:
        return False
    return "b" not in marks or "a" in marks
