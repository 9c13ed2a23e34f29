"""Reads `{prompt, chosen: [answer, …], rejected: [answer, …]}`: a side may have several answers, as in RewardBench 2.

Which of several answers on one side is the best or the worst nobody says, so `data.pairs` has to ask for each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from prefd.plugins.formats.chats import as_chat
from prefd.plugins.formats.compose import compose, gather
from prefd.plugins.formats.fields import is_text, kind_of
from prefd.plugins.formats.readings import RowPairs, first_pair, read_rows
from prefd.plugins.formats.row_shape import RowShape
from prefd.plugins.formats.sides import Sides, named_sides
from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import Pair, Reading, ReadOptions, RowFormat, UnclearRow, UnusableRow

PRECEDENCE = 70
ROW_SHAPES = (
    RowShape(
        "`chosen`, `rejected`: a list of answers each",
        "each chosen answer against each rejected one; where a side has several, `data.pairs: best_rest` or `all` has to ask for it",
        "RewardBench 2",
    ),
)


class Listed:
    """Pairs each chosen answer with each rejected one; a single answer on both sides needs no setting."""

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Says whether `row` has two sides, of which at least one is a list of answers."""
        columns = named_sides(row)
        if columns is None or _is_list(as_chat(row.get("prompt"))):
            return False  # whole columns, where the prompt is a list as well
        sides = [as_chat(row[column]) for column in columns]
        return any(map(_is_list, sides)) and all(_is_list(side) or is_text(side) for side in sides)

    def pair(self, row: Mapping[str, Any]) -> Pair:
        """Makes the first pair of `row`. Raises `UnusableRow`."""
        return first_pair(self.read({1: row}, ReadOptions()))

    def read(self, rows: Mapping[int, Mapping[str, Any]], options: ReadOptions) -> Reading:
        """Makes the pairs of all rows."""
        return read_rows(rows, partial(_pairs, options=options))


def _pairs(row: Mapping[str, Any], options: ReadOptions) -> RowPairs:
    side_columns = named_sides(row)
    if side_columns is None:
        raise UnusableRow("no two columns are its chosen and its rejected answer")
    chosen, rejected = (_answers(row, column, options) for column in side_columns)
    names = [options.original(column) for column in side_columns]
    if len(chosen) > 1 and options.pairs != "all":
        raise UnclearRow(
            f"{names[0]} has {len(chosen)} answers, and nothing says which is the best: data.pairs: all takes each of them "
            f"against each of {names[1]}"
        )
    if len(rejected) > 1 and options.pairs == "best_worst":
        raise UnclearRow(
            f"{names[1]} has {len(rejected)} answers, and nothing says which is the worst: data.pairs: best_rest takes the "
            "chosen one against each of them"
        )
    columns = frozenset(side_columns)
    return gather(
        partial(compose, row, Sides(chosen_answer, rejected_answer, columns))
        for chosen_answer in chosen
        for rejected_answer in rejected
    )


def _answers(row: Mapping[str, Any], column: str, options: ReadOptions) -> Sequence[Any]:
    """The answers of one side. Raises `UnusableRow` where there is none, or one that is no text."""
    side = as_chat(row[column])
    if is_text(side) and not (isinstance(side, list) and not side):
        return [side]
    if isinstance(side, list | tuple) and not side:
        raise UnusableRow(f"{options.original(column)} has no answer")
    if not isinstance(side, list | tuple):
        raise UnusableRow(f"wrong types: {options.original(column)} is {kind_of(side)}, not text or a list of answers")
    answers = [as_chat(answer) for answer in side]
    if odd_place := next((place for place, answer in enumerate(answers, 1) if not is_text(answer)), None):
        raise UnusableRow(
            f"wrong types: answer {odd_place} of {options.original(column)} is {kind_of(answers[odd_place - 1])}, not text or chat messages"
        )
    return answers


def _is_list(side: Any) -> bool:
    """Says whether it is several texts, and not the messages of one."""
    return (
        isinstance(side, list | tuple)
        and len(side) > 0
        and all(is_text(as_chat(answer)) for answer in side)
        and not is_text(side)
    )


@hookimpl
def register_formats(register: Callable[[str, RowFormat], None]) -> None:
    """Registers `listed`."""
    register("listed", Listed())
