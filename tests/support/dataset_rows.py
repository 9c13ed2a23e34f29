"""Questions with a better and a worse answer, our own texts, and what makes rows of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Row = dict[str, Any]
Messages = list[dict[str, Any]]


class Triple(NamedTuple):
    """A question with its better and its worse answer."""

    question: str
    better: str
    worse: str


TRIPLES = [
    Triple("How many legs has a spider?", "A spider has eight legs.", "Six, as any insect has."),
    Triple("Which metal is liquid at room temperature?", "It is mercury that is liquid.", "It is iron, I should say."),
    Triple("Who painted the night watch?", "Rembrandt painted it in 1642.", "Vermeer painted it, of course."),
]
SYSTEM = "Answer as a patient teacher would."


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def answer(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def chat(question: str, text: str) -> Messages:
    return [user(question), answer(text)]


class Shape(NamedTuple):
    """What one dataset makes of a triple. `swapped` rows have the worse answer first."""

    row: Callable[[Triple, bool], Row]
    prompt: Callable[[Triple], Messages] = lambda t: [user(t.question)]


def two(t: Triple, swapped: bool) -> tuple[str, str]:
    return (t.worse, t.better) if swapped else (t.better, t.worse)


def with_system(t: Triple) -> Messages:
    return [{"role": "system", "content": SYSTEM}, user(t.question)]


def winner(first: str, second: str, says: Callable[[int], Mapping[str, Any]], **more: Any) -> Shape:
    """Two answers, and what says which won: of its place, 0 or 1."""

    def row(t: Triple, swapped: bool) -> Row:
        one, other = two(t, swapped)
        return {"prompt": t.question, first: one, second: other, **says(int(swapped)), **more}

    return Shape(row)


def plain(**columns: str) -> Shape:
    """Columns by what they hold: question, better, worse, or a text of their own."""

    def row(t: Triple, _: bool) -> Row:
        return {column: getattr(t, what, what) for column, what in columns.items()}

    return Shape(row)
