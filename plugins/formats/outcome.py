"""Decides which of several answers in a row won, by the column that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefd.plugins.formats.answers import Answers, as_number
from prefd.plugins.formats.ballot import Ballot, ballot_of, explain_doubt
from prefd.plugins.formats.labels import label_name
from prefd.plugins.formats.mentions import find_by_text
from prefd.plugins.formats.places import find_by_number, find_by_sign, places_of_numbers
from prefd.plugins.types import UnclearRow, UnusableRow


def winner_of(ballot: Ballot, row: Mapping[str, Any], answers: Answers) -> int:
    """Finds the place of the answer that won. Raises `UnusableRow` for a tie, `UnclearRow` where it is not certain."""
    value = label_name(row.get(ballot.column))
    if value is None or value == "" or value != value:  # noqa: PLR0124  # NaN, as pandas writes what is missing
        raise UnusableRow(f"{ballot.name} is missing: no answer is preferred")
    amount = as_number(value)
    if ballot.signed and amount is not None:
        return find_by_sign(ballot, amount, answers)
    if amount is not None and amount.is_integer():
        return find_by_number(ballot, int(amount), answers)
    if isinstance(value, str) and amount is None:
        return find_by_text(ballot, value, row, answers)
    if amount == 1.5 and set(places_of_numbers(ballot, answers) or ()) == {1, 2}:
        raise UnusableRow(f"a tie: {ballot.name} is 1.5")
    raise UnclearRow(explain_doubt(ballot, value, answers))


class Verdict:
    """Verdict is a column that says which answer won, with what it holds in all rows."""

    def __init__(self, column: str, values: Sequence[Any]) -> None:
        self.column = column
        self._ballot = ballot_of(column, values, False)

    def find_winner(self, row: Mapping[str, Any], answers: Answers) -> int:
        """Finds the place of the answer that won. Raises `UnusableRow` as `winner_of` does."""
        return winner_of(self._ballot, row, answers)


def winner_of_one_hot(columns: Mapping[str, str], row: Mapping[str, Any], answers: Answers) -> int:
    """Finds the place of the answer whose own column says that it won. Raises `UnusableRow` where not just one does."""
    chosen = [mark for mark, column in columns.items() if as_number(row[column]) == 1 or row[column] is True]
    if not chosen:
        raise UnusableRow("a tie: no answer is preferred")
    if len(chosen) > 1 or chosen[0] not in answers.marks:
        raise UnusableRow(f"not one winner in {', '.join(columns.values())}")
    return answers.marks.index(chosen[0])
