"""Reads answers and a column that says which won: PKU-SafeRLHF, HelpSteer3, SHP, Chatbot Arena, MT-Bench.

Ties are no pair. Which column and which number means which answer is decided over all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from prefd.plugins.formats.answers import Answers, as_number, find_answers, why_none
from prefd.plugins.formats.ballot import Ballot, ballot_of
from prefd.plugins.formats.compose import compose, gather
from prefd.plugins.formats.fields import is_messages
from prefd.plugins.formats.names import key_of, words_of
from prefd.plugins.formats.outcome import winner_of, winner_of_one_hot
from prefd.plugins.formats.places import is_shp
from prefd.plugins.formats.readings import RowPairs, first_pair, read_rows
from prefd.plugins.formats.row_shape import RowShape
from prefd.plugins.formats.scored import known_scores, scores_of, signed
from prefd.plugins.formats.sides import Sides, find_sides, has_worse_side, known_sides
from prefd.plugins.formats.verdicts import one_hot, verdicts
from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import Pair, Reading, ReadOptions, RowFormat, UnclearRow

PRECEDENCE = 50
ROW_SHAPES = (
    RowShape(
        "`response_0`, `response_1` (`answer_a`, `conversation_a`, `human_ref_A`, `output_1`, …) and a winner (`better_response_id`, `overall_preference`, `winner`, `choice`, `labels`, `winner_model_a`, …)",
        "the winner is chosen; ties are no pair",
        "PKU-SafeRLHF, HelpSteer3, SHP, Chatbot Arena, MT-Bench",
    ),
)
NO_WORST = (
    "the winner of more than two answers is known, and not the worst: data.pairs: best_rest takes it against each other"
)


class Winner:
    """Pairs the winner, as chosen, with each other answer, as rejected."""

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Says whether `row` has several answers and a column that may say which won."""
        return (
            find_sides(row) is None
            and not has_worse_side(row)
            and find_answers(row) is not None
            and bool(verdicts(row) or one_hot(row))
        )

    def pair(self, row: Mapping[str, Any]) -> Pair:
        """Makes the first pair of `row`. Raises `UnusableRow`."""
        return first_pair(self.read({1: row}, ReadOptions()))

    def read(self, rows: Mapping[int, Mapping[str, Any]], options: ReadOptions) -> Reading:
        """Makes the pairs of all rows, by the column of the winner that all of them together show."""
        column = options.winner or _column_of(rows)
        values = [row.get(column) for row in rows.values()]
        ballot = ballot_of(column, values, options.winner is not None, options.original(column))
        reading = read_rows(rows, partial(_pairs, ballot=ballot, options=options))
        reading.notes += _notes(rows, ballot)
        return reading


def _pairs(row: Mapping[str, Any], ballot: Ballot, options: ReadOptions) -> RowPairs:
    answers = find_answers(row)
    if answers is None:
        raise why_none(row, "winner")
    one_hot_columns = {} if ballot.is_from_spec else one_hot(row)
    if one_hot_columns:
        best, verdict_columns = (
            winner_of_one_hot(one_hot_columns, row, answers),
            frozenset(one_hot_columns.values()) | _tie_columns(row),
        )
    elif not ballot.column:
        raise UnclearRow(_several(verdicts(row)))
    else:
        best, verdict_columns = winner_of(ballot, row, answers), frozenset([ballot.column])
    if not ballot.is_from_spec:
        verdict_column = ballot.column or ", ".join(sorted(one_hot_columns.values()))
        if not is_shp(ballot, answers):
            _check_scores(row, answers, best, verdict_column)
        _check_names(answers, best, verdict_column)
    other_places = [place for place in range(len(answers.texts)) if place != best]
    if len(other_places) > 1 and options.pairs == "best_worst":
        raise UnclearRow(NO_WORST)
    return gather(partial(_pair, row, answers, (best, place), verdict_columns, ballot) for place in other_places)


def _pair(
    row: Mapping[str, Any], answers: Answers, places: tuple[int, int], verdict_columns: frozenset[str], ballot: Ballot
) -> tuple[Pair, frozenset[str]]:
    chosen, rejected = (_cut(answers.texts[place], row.get("turn")) for place in places)
    pair, columns = compose(row, Sides(chosen, rejected, answers.columns))
    if as_number(row.get("turn")) is not None and is_messages(answers.texts[places[0]]):
        columns |= {"turn"}
    margin, scored = _margin(row, answers, places, ballot)
    return replace(pair, margin=margin), columns | verdict_columns | scored


def _cut(answer: Any, turn: Any) -> Any:
    """A conversation up to the answer that was judged: MT-Bench's `turn` 1 is about the first of two."""
    turns = as_number(turn)
    if not is_messages(answer) or turns is None or turns < 1:
        return answer
    ends = [place for place, message in enumerate(answer, 1) if message["role"] == "assistant"]
    return answer[: ends[int(turns) - 1]] if turns <= len(ends) else answer


def _check_scores(row: Mapping[str, Any], answers: Answers, best: int, verdict_column: str) -> None:
    """Raises `UnclearRow` where the answers have scores by which another one is better."""
    for scored in known_scores(scores_of(row, answers)):
        values = signed(scored.name, scored.values)
        best_score = values[best]
        if best_score is not None and any(value is not None and value > best_score for value in values):
            raise UnclearRow(
                f"{verdict_column} and {scored.name} disagree on which answer is better; name the one to go by "
                f"(data.winner_feature: {verdict_column}, or data.score_feature: {scored.name})"
            )


def _check_names(answers: Answers, best: int, verdict_column: str) -> None:
    """Raises `UnclearRow` where the columns' own names say that another answer is better, as `y_w` and `y_l` do."""
    sides = known_sides(answers.names)
    if sides is not None and answers.names[best] != sides[0]:
        raise UnclearRow(
            f"{verdict_column} says that {answers.names[best]} is better than {sides[0]}, whose name says the opposite; name "
            f"the one to go by (data.winner_feature: {verdict_column}, or data.chosen_feature: {sides[0]} and "
            f"data.rejected_feature: {sides[1]})"
        )


def _margin(
    row: Mapping[str, Any], answers: Answers, places: tuple[int, int], ballot: Ballot
) -> tuple[float | None, frozenset[str]]:
    """By the answers' own scores, or the strength of the preference; None where there is neither."""
    if ballot.column and ballot.signed:
        amount = as_number(row.get(ballot.column))
        return (None if amount is None else abs(amount)), frozenset()
    for scores in known_scores(scores_of(row, answers)):
        chosen, rejected = (scores.values[place] for place in places)
        if not scores.is_rank and chosen is not None and rejected is not None:
            return chosen - rejected, scores.columns
    return None, frozenset()


def _column_of(rows: Mapping[int, Mapping[str, Any]]) -> str:
    """The column of the winner, "" where several may be it."""
    columns = sorted({column for row in rows.values() for column in verdicts(row)})
    safer_columns = [column for column in columns if "safer" in words_of(column)]
    if len(columns) > len(
        safer_columns
    ):  # PKU-SafeRLHF: the better answer is what preference is about, unless the spec asks for the safer
        columns = [column for column in columns if column not in safer_columns]
    return columns[0] if len(columns) == 1 else ""


def _several(columns: list[str]) -> str:
    names = " and ".join(map(repr, columns))
    return (
        f"the columns {names} may each say which answer won; name the one (data.winner_feature: {' or '.join(columns)})"
    )


def _tie_columns(row: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(column for column in row if key_of(column) in ("winner_tie", "tie"))


def _notes(rows: Mapping[int, Mapping[str, Any]], ballot: Ballot) -> list[str]:
    if not ballot.column:
        return []
    notes = [f"which answer is chosen goes by the column {ballot.name}"]
    other_columns = sorted({column for row in rows.values() for column in verdicts(row)} - {ballot.column})
    for column in other_columns:
        differing = sum(row.get(column) != row.get(ballot.column) for row in rows.values())
        notes.append(
            f"{column} says otherwise in {differing} of {len(rows)} rows (data.winner_feature: {column} would go by it)"
        )
    return notes


@hookimpl
def register_formats(register: Callable[[str, RowFormat], None]) -> None:
    """Registers `winner`."""
    register("winner", Winner())
