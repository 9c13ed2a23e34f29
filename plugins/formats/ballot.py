"""Describes the column that calls one of several answers the better one, by what it holds in all rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from prefd.plugins.formats.answers import Answers, as_number
from prefd.plugins.formats.labels import label_name
from prefd.plugins.formats.names import key_of, words_of
from prefd.plugins.formats.naming import mark_in


class Ballot(NamedTuple):
    """Ballot is the column that says who won, and what numbers it holds in all rows."""

    column: str
    numbers: frozenset[int] = frozenset()
    below_0: bool = False
    """Whether any row holds a number below 0."""
    is_from_spec: bool = False
    """Whether the spec names it."""
    from_zero: bool = False
    """Whether numbers are known to count from 0."""
    answer_marks: frozenset[str] = frozenset()
    """The letters and numbers by which the texts of all rows name answers, as `2` of `Response 2`."""
    original_name: str = ""
    """What the dataset calls the column, where the spec gave it another name."""

    @property
    def name(self) -> str:
        """Names the column, for messages."""
        return self.original_name or self.column

    @property
    def signed(self) -> bool:
        """Says whether it is a strength: below 0 for the first answer, above for the second (HelpSteer2 and 3)."""
        return "strength" in words_of(self.column) or key_of(self.column) == "overall_preference"


def ballot_of(column: str, values: Sequence[Any], is_from_spec: bool, original_name: str = "") -> Ballot:
    """Describes the column of the winner, whose values in all rows are `values`."""
    values = [label_name(value) for value in values]
    answer_marks = frozenset(mark_in(value) for value in values if isinstance(value, str)) - {""}
    below_0 = any((as_number(value) or 0) < 0 for value in values)
    return Ballot(
        column, integers(values), below_0, is_from_spec, answer_marks=answer_marks, original_name=original_name
    )


def integers(values: Sequence[Any]) -> frozenset[int]:
    """Collects the whole numbers among `values`."""
    amounts = (as_number(value) for value in values)
    return frozenset(int(amount) for amount in amounts if amount is not None and amount.is_integer())


def explain_doubt(ballot: Ballot, value: Any, answers: Answers) -> str:
    """Explains that a value does not say for certain which answer won."""
    amount = as_number(value)
    is_whole = amount is not None and amount.is_integer()
    value_text = ", ".join(map(str, sorted(ballot.numbers)[:4])) if is_whole and ballot.numbers else str(value)[:40]
    return f"{ballot.name} holds {value_text}, which does not say for certain which of {answers.listed} won; {suggest_remedy(answers)}"


def suggest_remedy(answers: Answers) -> str:
    """Says what to write into the winner's column so that it names one answer."""
    remedy_text = (
        f"the name of the winning column ({' or '.join(answers.names)})"
        if answers.names
        else "the winning answer's letter (A, B, …)"
    )
    return f"write {remedy_text} into it"
