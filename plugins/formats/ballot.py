"""Which of two answers a column says is the better one: by name, by letter, by number, by a signed strength.

A number is taken only where it can mean one answer: of 0 and 1 beside `response_a` and `response_b` nobody knows
whether 1 is the second, or says that the first won.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prefd.plugins.formats.answers import Answers, as_number
from prefd.plugins.formats.chats import squeezed
from prefd.plugins.formats.names import is_metadata, key_of, numbered_columns, words_of
from prefd.plugins.types import UnclearRow, UnusableRow

VERDICTS = frozenset(
    [
        "winner",
        "winning",
        "preferred",
        "preference",
        "better",
        "best",
        "choice",
        "chosen",
        "selected",
        "label",
        "labels",
        "safer",
    ]
)
BESIDE = frozenset(
    [
        "response",
        "answer",
        "output",
        "completion",
        "model",
        "summary",
        "side",
        "id",
        "index",
        "idx",
        "human",
        "overall",
        "strength",
        "number",
        "letter",
        "name",
        "conversation",
    ]
)
TIES = frozenset(["tie", "ties", "tied", "draw", "equal", "same", "both", "neither", "none", "bothbad", "bad", "good"])
FIRST, SECOND = frozenset(["first", "left"]), frozenset(["second", "right"])
INDEX = frozenset(["index", "idx"])
COMPARED = re.compile(r"\W*([A-Za-z0-9])\s*(>+|<+|=+)\s*([A-Za-z0-9])\W*")
SHP = ("human_ref_A", "human_ref_B")
"""Of stanfordnlp/SHP: its `labels` is 1 where A was preferred."""


class Ballot(NamedTuple):
    """The column that says who won, and what numbers it holds in all rows."""

    column: str
    numbers: frozenset[int] = frozenset()
    below_0: bool = False
    """Whether any row holds a number below 0."""
    named: bool = False
    """Whether the spec names it."""
    from_zero: bool = False
    """Whether numbers are known to count from 0."""

    @property
    def signed(self) -> bool:
        """Whether it is a strength: below 0 for the first answer, above for the second (HelpSteer2 and 3)."""
        return "strength" in words_of(self.column) or key_of(self.column) == "overall_preference"


def verdicts(row: Mapping[str, Any]) -> list[str]:
    """The columns of `row` that may say which answer won."""
    return [column for column in sorted(row) if is_verdict(column) and not isinstance(row[column], list | dict | tuple)]


def one_hot(row: Mapping[str, Any]) -> dict[str, str]:
    """{mark: column} of columns as `winner_model_a` and `winner_model_b`."""
    for base, columns in numbered_columns(row).items():
        if not {"winner", "preferred", "better"}.isdisjoint(base) and len(columns) > 1:
            return columns
    return {}


def winner_of(ballot: Ballot, row: Mapping[str, Any], answers: Answers) -> int:
    """The place of the answer that won. Raises `UnusableRow` for a tie, `UnclearRow` where it is not certain."""
    value = row.get(ballot.column)
    if value is None or value == "":
        raise UnusableRow(f"{ballot.column} is missing: no answer is preferred")
    amount = as_number(value)
    if ballot.signed and amount is not None:
        return _by_sign(ballot, amount, answers)
    if amount is not None and amount.is_integer():
        return _by_number(ballot, int(amount), answers)
    if isinstance(value, str):
        return _by_name(ballot, value, row, answers)
    raise UnclearRow(_unclear(ballot, answers))


def winner_of_one_hot(columns: Mapping[str, str], row: Mapping[str, Any], answers: Answers) -> int:
    """As `winner_of`, of a column for each answer."""
    chosen = [mark for mark, column in columns.items() if as_number(row[column]) == 1 or row[column] is True]
    if not chosen:
        raise UnusableRow("a tie: no answer is preferred")
    if len(chosen) > 1 or chosen[0] not in answers.marks:
        raise UnusableRow(f"not one winner in {', '.join(columns.values())}")
    return answers.marks.index(chosen[0])


def is_verdict(column: str) -> bool:
    """Whether a column of this name may say which answer won."""
    words = set(words_of(column))
    return bool(words & VERDICTS) and words <= VERDICTS | BESIDE


def _by_sign(ballot: Ballot, amount: float, answers: Answers) -> int:
    if len(answers.texts) != 2:
        raise UnclearRow(_unclear(ballot, answers))
    if not ballot.below_0 and amount != 0 and not ballot.named:
        raise UnclearRow(
            f"{ballot.column} is never below 0: it may be a strength or the number of an answer; {_remedy(answers)}"
        )
    if amount == 0:
        raise UnusableRow(f"a tie: {ballot.column} is 0")
    return 0 if amount < 0 else 1


def _by_number(ballot: Ballot, value: int, answers: Answers) -> int:
    places = _places(ballot, answers)
    if places is None:
        raise UnclearRow(_unclear(ballot, answers))
    if value not in places:
        raise UnusableRow(f"{ballot.column} {value} is none of {answers.listed}")
    return places[value]


def _places(ballot: Ballot, answers: Answers) -> dict[int, int] | None:
    """The place that each number means; None where that is not certain."""
    words, count, seen = set(words_of(ballot.column)), len(answers.texts), ballot.numbers
    if ballot.from_zero:
        return {place: place for place in range(count)}
    if answers.names == SHP and words <= {"label", "labels"}:
        return {1: 0, 0: 1}
    if words & {"label", "labels"} and not ballot.named:
        return None
    counted_from_0 = {place: place for place in range(count)}
    counted_from_1 = {place + 1: place for place in range(count)}
    if answers.names and all(mark.isdigit() for mark in answers.marks):
        by_mark = {int(mark): place for place, mark in enumerate(answers.marks)}
        if not seen <= by_mark.keys() or (by_mark == counted_from_1 and words & INDEX and count not in seen):
            return None
        return by_mark
    if 0 not in seen and count in seen and seen <= counted_from_1.keys():
        return counted_from_1
    if 0 in seen and seen <= counted_from_0.keys() and (words & INDEX or not answers.names):
        return counted_from_0
    return None


def _by_name(ballot: Ballot, value: str, row: Mapping[str, Any], answers: Answers) -> int:
    words = words_of(value)
    exact = [place for place, name in enumerate(answers.names) if key_of(name) == "_".join(words)]
    exact = exact or [
        place for place, text in enumerate(answers.texts) if isinstance(text, str) and squeezed(text) == squeezed(value)
    ]
    exact = exact or _by_model(value, row, answers)
    if len(exact) == 1:
        return exact[0]
    if compared := COMPARED.fullmatch(value.strip()):
        return _by_comparison(compared, ballot, answers)
    if words and set(words) <= TIES:
        raise UnusableRow(f"a tie: {ballot.column} is {value!r}")
    if words and set(words[:-1]) <= BESIDE | {"assistant", "option", "ref"}:
        marks = answers.marks if answers.names else tuple("abcdefghijklmnopqrstuvwxyz"[: len(answers.texts)])
        if words[-1] in marks:
            return marks.index(words[-1])
    if len(answers.texts) == 2 and words and set(words[1:]) <= BESIDE and words[0] in FIRST | SECOND:
        return 0 if words[0] in FIRST else 1
    raise UnusableRow(f"{ballot.column} {value[:40]!r} is none of {answers.listed}")


def _by_comparison(compared: re.Match[str], ballot: Ballot, answers: Answers) -> int:
    """`A>B`, `A<<B`, `A=B`."""
    first, sign, second = (compared[group].lower() for group in (1, 2, 3))
    if "=" in sign or {first, second} != set(answers.marks):
        if sign.strip("="):
            raise UnusableRow(f"{ballot.column} {compared[0]!r} is none of {answers.listed}")
        raise UnusableRow(f"a tie: {ballot.column} is {compared[0]!r}")
    return answers.marks.index(first if ">" in sign else second)


def _by_model(value: str, row: Mapping[str, Any], answers: Answers) -> list[int]:
    """By who wrote it, where columns as `model_a` say that."""
    models = numbered_columns(column for column in row if is_metadata(column)).get(("model",), {})
    return [place for place, mark in enumerate(answers.marks) if mark in models and row[models[mark]] == value]


def _unclear(ballot: Ballot, answers: Answers) -> str:
    held = ", ".join(map(str, sorted(ballot.numbers)[:4])) or "no name of an answer"
    return f"{ballot.column} holds {held}, which does not say for certain which of {answers.listed} won; {_remedy(answers)}"


def _remedy(answers: Answers) -> str:
    what = (
        f"the name of the winning column ({' or '.join(answers.names)})"
        if answers.names
        else "the winning answer's letter (A, B, …)"
    )
    return f"write {what} into it"


def ballot_of(column: str, values: Sequence[Any], named: bool) -> Ballot:
    """The ballot in `column`, whose values in all rows these are."""
    return Ballot(column, integers(values), any((as_number(value) or 0) < 0 for value in values), named)


def integers(values: Sequence[Any]) -> frozenset[int]:
    """The whole numbers among `values`."""
    found = (as_number(value) for value in values)
    return frozenset(int(one) for one in found if one is not None and one.is_integer())
