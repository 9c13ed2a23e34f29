"""Reads which of two answers a column calls the better one: by name, by letter, by number, by a signed strength.

A number is taken only where it can mean one answer: of 0 and 1 beside `response_a` and `response_b` nobody knows
whether 1 is the second, or says that the first won.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prefd.plugins.formats.answers import Answers, as_number
from prefd.plugins.formats.chats import squeezed
from prefd.plugins.formats.labels import label_name
from prefd.plugins.formats.names import ANSWERS, CHATS, is_metadata, key_of, numbered, numbered_columns, words_of
from prefd.plugins.formats.prompt import answer_text
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
NAMING = BESIDE | ANSWERS | CHATS | {"assistant", "option", "ref", "candidate", "choice"}
"""Words before the letter or number of an answer."""
TIES = frozenset(["tie", "ties", "tied", "draw", "equal", "same", "both", "neither", "none", "bothbad", "bad", "good"])
FIRST, SECOND = frozenset(["first", "left"]), frozenset(["second", "right"])
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
COMPARED = re.compile(r"\W*([A-Za-z0-9])\s*(>+|<+|=+)\s*([A-Za-z0-9])\W*")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SHP = ("human_ref_A", "human_ref_B")
"""Of stanfordnlp/SHP: its `labels` is 1 where A was preferred."""


class Ballot(NamedTuple):
    """The column that says who won, and what numbers it holds in all rows."""

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
        """The column, for messages."""
        return self.original_name or self.column

    @property
    def signed(self) -> bool:
        """Whether it is a strength: below 0 for the first answer, above for the second (HelpSteer2 and 3)."""
        return "strength" in words_of(self.column) or key_of(self.column) == "overall_preference"


def verdicts(row: Mapping[str, Any]) -> list[str]:
    """Lists the columns of `row` that may say which answer won."""
    return [column for column in sorted(row) if is_verdict(column) and not isinstance(row[column], list | dict | tuple)]


def one_hot(row: Mapping[str, Any]) -> dict[str, str]:
    """Finds columns as `winner_model_a` and `winner_model_b`, by their marks: {mark: column}."""
    for base, columns in numbered_columns(row).items():
        if not {"winner", "preferred", "better"}.isdisjoint(base) and len(columns) > 1:
            return columns
    return {}


def winner_of(ballot: Ballot, row: Mapping[str, Any], answers: Answers) -> int:
    """Finds the place of the answer that won. Raises `UnusableRow` for a tie, `UnclearRow` where it is not certain."""
    value = label_name(row.get(ballot.column))
    if value is None or value == "":
        raise UnusableRow(f"{ballot.name} is missing: no answer is preferred")
    amount = as_number(value)
    if ballot.signed and amount is not None:
        return _by_sign(ballot, amount, answers)
    if amount is not None and amount.is_integer():
        return _by_number(ballot, int(amount), answers)
    if isinstance(value, str) and amount is None:
        return _by_name(ballot, value, row, answers)
    if amount == 1.5 and set(_places(ballot, answers) or ()) == {1, 2}:
        raise UnusableRow(f"a tie: {ballot.name} is 1.5")
    raise UnclearRow(_unclear(ballot, value, answers))


def winner_of_one_hot(columns: Mapping[str, str], row: Mapping[str, Any], answers: Answers) -> int:
    """Finds the place of the answer whose own column says that it won. Raises `UnusableRow` where not just one does."""
    chosen = [mark for mark, column in columns.items() if as_number(row[column]) == 1 or row[column] is True]
    if not chosen:
        raise UnusableRow("a tie: no answer is preferred")
    if len(chosen) > 1 or chosen[0] not in answers.marks:
        raise UnusableRow(f"not one winner in {', '.join(columns.values())}")
    return answers.marks.index(chosen[0])


def is_verdict(column: str) -> bool:
    """Says whether a column of this name may say which answer won."""
    words = set(words_of(column))
    return bool(words & VERDICTS) and words <= VERDICTS | BESIDE


def _by_sign(ballot: Ballot, amount: float, answers: Answers) -> int:
    if len(answers.texts) != 2:
        raise UnclearRow(_unclear(ballot, amount, answers))
    if not ballot.below_0 and amount != 0 and not ballot.is_from_spec:
        raise UnclearRow(
            f"{ballot.name} is never below 0: it may be a strength or the number of an answer; {_remedy(answers)}, or, where "
            f"it is a strength, below 0 for the first answer and above 0 for the second, name it (data.winner_feature: {ballot.name})"
        )
    if amount == 0:
        raise UnusableRow(f"a tie: {ballot.name} is 0")
    return 0 if amount < 0 else 1


def _by_number(ballot: Ballot, value: int, answers: Answers) -> int:
    places = _places(ballot, answers)
    if places is None:
        raise UnclearRow(_unclear(ballot, value, answers))
    if value not in places:
        raise UnusableRow(f"{ballot.name} {value} is none of {answers.listed}")
    return places[value]


def _places(ballot: Ballot, answers: Answers) -> dict[int, int] | None:
    """The place that each number means; None where that is not certain."""
    if not YES_OR_NO.isdisjoint(words_of(ballot.name)) or numbered(ballot.name) is not None:
        return None
    if answers.names and not _are_one_row_of_marks(answers.every or answers.marks):
        return None
    return _count_places(ballot, answers)


def is_shp(ballot: Ballot, answers: Answers) -> bool:
    """Says whether the answers are SHP's, and the column is its `labels`."""
    return answers.names == SHP and set(words_of(ballot.column)) <= {"label", "labels"}


def _count_places(ballot: Ballot, answers: Answers) -> dict[int, int] | None:
    """As `_places`, of answers that can be counted through."""
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
    """Whether answers with these marks can be counted through: all numbers or none, and no letters that begin behind a."""
    if len({mark.isdigit() for mark in marks}) > 1:
        return False
    return "b" not in marks or "a" in marks


def _by_name(ballot: Ballot, value: str, row: Mapping[str, Any], answers: Answers) -> int:
    words = words_of(value)
    models = _by_model(value, row, answers)
    if len(models) > 1:
        raise UnusableRow(
            f"{ballot.name} {value[:40]!r} is who wrote {' and '.join(answers.names)}: it names no one answer"
        )
    texts = [place for place, text in enumerate(answers.texts) if _folded(answer_text(text)) == _folded(value)]
    places: set[int] = {*models, *(texts if len(texts) == 1 else ()), *_by_mark(ballot, value, words, answers)}
    if len(places) > 1:
        raise UnclearRow(
            f"{ballot.name} {value[:40]!r} is the text or the writer of one answer and the letter of another; {_remedy(answers)}"
        )
    if places:
        return places.pop()
    if compared := COMPARED.fullmatch(value.strip()):
        return _by_comparison(compared, ballot, answers)
    if words and set(words) <= TIES:
        raise UnusableRow(f"a tie: {ballot.name} is {value!r}")
    raise UnusableRow(f"{ballot.name} {value[:40]!r} is none of {answers.listed}")


def _folded(text: str) -> str:
    return squeezed(text).casefold()


def _by_mark(ballot: Ballot, value: str, words: Sequence[str], answers: Answers) -> list[int]:
    """By the name of its column, its letter or number, or as the first or second. Raises `UnclearRow` if not certain."""
    all_marks, mark = answers.every or answers.marks, _end(value)
    digits = bool(answers.names) and all(numbered_mark.isdigit() for numbered_mark in all_marks)
    if digits and mark and not _counts_alike(ballot, value, mark, all_marks, answers):
        raise UnclearRow(
            f"{ballot.name} {value[:40]!r} may count otherwise than {answers.listed} do; {_remedy(answers)}"
        )
    if named_places := [place for place, name in enumerate(answers.names) if key_of(name) == "_".join(words)]:
        return named_places
    if mark:
        if not answers.names or (digits and mark.isalpha()):
            mark = dict(zip(LETTERS, all_marks)).get(mark, "")
        return [answers.marks.index(mark)] if mark in answers.marks else []
    if len(answers.texts) == 2 and words and set(words[1:]) <= BESIDE and words[0] in FIRST | SECOND:
        return [0 if words[0] in FIRST else 1]
    return []


def _counts_alike(ballot: Ballot, value: str, mark: str, all_marks: Sequence[str], answers: Answers) -> bool:
    """Whether a letter or number of the texts is one of answers that are numbered as `every`."""
    if mark.isalpha():
        return _is_count(all_marks)
    numbers = {text_mark for text_mark in ballot.answer_marks if text_mark.isdigit()} | {mark}
    return numbers <= set(all_marks) and ("0" not in all_marks or "0" in numbers or value.strip() in answers.names)


def _is_count(marks: Sequence[str]) -> bool:
    """Whether numbers follow each other from 0 or from 1 on."""
    return sorted(map(int, marks)) in (list(range(len(marks))), list(range(1, len(marks) + 1)))


def _end(value: str) -> str:
    """The letter or number that a text names an answer by: `2` of `Response 2`; "" where it names none so."""
    words = words_of(value)
    if not words or not set(words[:-1]) <= NAMING:
        return ""
    return str(int(words[-1])) if words[-1].isdecimal() else words[-1] if len(words[-1]) == 1 else ""


def _by_comparison(compared: re.Match[str], ballot: Ballot, answers: Answers) -> int:
    """`A>B`, `A<<B`, `A=B`."""
    first, sign, second = (compared[group].lower() for group in (1, 2, 3))
    if "=" in sign or {first, second} != set(answers.marks):
        if sign.strip("="):
            raise UnusableRow(f"{ballot.name} {compared[0]!r} is none of {answers.listed}")
        raise UnusableRow(f"a tie: {ballot.name} is {compared[0]!r}")
    return answers.marks.index(first if ">" in sign else second)


def _by_model(value: str, row: Mapping[str, Any], answers: Answers) -> list[int]:
    """By who wrote it, where columns as `model_a` say that."""
    models = numbered_columns(column for column in row if is_metadata(column)).get(("model",), {})
    return [place for place, mark in enumerate(answers.marks) if mark in models and row[models[mark]] == value]


def _unclear(ballot: Ballot, value: Any, answers: Answers) -> str:
    amount = as_number(value)
    is_whole = amount is not None and amount.is_integer()
    value_text = ", ".join(map(str, sorted(ballot.numbers)[:4])) if is_whole and ballot.numbers else str(value)[:40]
    return f"{ballot.name} holds {value_text}, which does not say for certain which of {answers.listed} won; {_remedy(answers)}"


def _remedy(answers: Answers) -> str:
    remedy_text = (
        f"the name of the winning column ({' or '.join(answers.names)})"
        if answers.names
        else "the winning answer's letter (A, B, …)"
    )
    return f"write {remedy_text} into it"


def ballot_of(column: str, values: Sequence[Any], is_from_spec: bool, original_name: str = "") -> Ballot:
    """Describes the column of the winner, whose values in all rows are `values`."""
    values = [label_name(value) for value in values]
    answer_marks = frozenset(_end(value) for value in values if isinstance(value, str)) - {""}
    below_0 = any((as_number(value) or 0) < 0 for value in values)
    return Ballot(
        column, integers(values), below_0, is_from_spec, answer_marks=answer_marks, original_name=original_name
    )


def integers(values: Sequence[Any]) -> frozenset[int]:
    """Collects the whole numbers among `values`."""
    amounts = (as_number(value) for value in values)
    return frozenset(int(amount) for amount in amounts if amount is not None and amount.is_integer())
