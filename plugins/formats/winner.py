"""Answers in columns or a list, and a column that says which won: PKU-SafeRLHF, HelpSteer3, SHP, Chatbot Arena, MT-Bench.

Ties are no pair. Which column and which number means which answer is decided over all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from prefd.plugins.formats.answers import Answers, as_number, find_answers, why_none
from prefd.plugins.formats.ballot import Ballot, ballot_of, is_shp, one_hot, verdicts, winner_of, winner_of_one_hot
from prefd.plugins.formats.compose import compose, gather
from prefd.plugins.formats.fields import is_messages
from prefd.plugins.formats.names import key_of, words_of
from prefd.plugins.formats.scored import known_scores, scores_of, signed
from prefd.plugins.formats.sides import Sides, find_sides, has_worse_side, known_sides
from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import Pair, Reading, ReadOptions, RowFormat, UnclearRow, UnusableRow

NO_WORST = (
    "the winner of more than two answers is known, and not the worst: data.pairs: best_rest takes it against each other"
)


class Winner:
    """The winner is chosen, the other rejected."""

    def matches(self, row: Mapping[str, Any]) -> bool:
        return (
            find_sides(row) is None
            and not has_worse_side(row)
            and find_answers(row) is not None
            and bool(verdicts(row) or one_hot(row))
        )

    def pair(self, row: Mapping[str, Any]) -> Pair:
        reading = self.read({1: row}, ReadOptions())
        if not reading.pairs:
            raise reading.unusable[0][1]
        return reading.pairs[0][1]

    def read(self, rows: Mapping[int, Mapping[str, Any]], options: ReadOptions) -> Reading:
        reading = Reading()
        column = options.winner or _column_of(rows)
        values = [row.get(column) for row in rows.values()]
        ballot = ballot_of(column, values, options.winner is not None, options.original(column))
        for number, row in rows.items():
            try:
                found, lost = _pairs(row, ballot, options)
                reading.unusable += [(number, reason) for reason in lost]
                for pair, columns in found:
                    reading.pairs.append((number, pair))
                    reading.columns.setdefault(number, set()).update(columns)
            except UnusableRow as reason:
                reading.unusable.append((number, reason))
        reading.notes += _notes(rows, ballot)
        return reading


def _pairs(
    row: Mapping[str, Any], ballot: Ballot, options: ReadOptions
) -> tuple[list[tuple[Pair, frozenset[str]]], list[UnusableRow]]:
    answers = find_answers(row)
    if answers is None:
        raise why_none(row, "winner")
    hot = {} if ballot.named else one_hot(row)
    if hot:
        best, used = winner_of_one_hot(hot, row, answers), frozenset(hot.values()) | _tie_columns(row)
    elif not ballot.column:
        raise UnclearRow(_several(verdicts(row)))
    else:
        best, used = winner_of(ballot, row, answers), frozenset([ballot.column])
    if not ballot.named:
        who = ballot.column or ", ".join(sorted(hot.values()))
        if not is_shp(ballot, answers):
            _check_scores(row, answers, best, who)
        _check_names(answers, best, who)
    others = [place for place in range(len(answers.texts)) if place != best]
    if len(others) > 1 and options.pairs == "best_worst":
        raise UnclearRow(NO_WORST)
    return gather(partial(_pair, row, answers, (best, other), used, ballot) for other in others)


def _pair(
    row: Mapping[str, Any], answers: Answers, places: tuple[int, int], used: frozenset[str], ballot: Ballot
) -> tuple[Pair, frozenset[str]]:
    chosen, rejected = (_cut(answers.texts[place], row.get("turn")) for place in places)
    pair, columns = compose(row, Sides(chosen, rejected, answers.columns))
    if as_number(row.get("turn")) is not None and is_messages(answers.texts[places[0]]):
        columns |= {"turn"}
    margin, scored = _margin(row, answers, places, ballot)
    return replace(pair, margin=margin), columns | used | scored


def _cut(answer: Any, turn: Any) -> Any:
    """A conversation up to the answer that was judged: MT-Bench's `turn` 1 is about the first of two."""
    turns = as_number(turn)
    if not is_messages(answer) or turns is None or turns < 1:
        return answer
    ends = [place for place, message in enumerate(answer, 1) if message["role"] == "assistant"]
    return answer[: ends[int(turns) - 1]] if turns <= len(ends) else answer


def _check_scores(row: Mapping[str, Any], answers: Answers, best: int, who: str) -> None:
    """Raises `UnclearRow` where the answers have scores by which another one is better."""
    for scored in known_scores(scores_of(row, answers)):
        values = signed(scored.name, scored.values)
        ours = values[best]
        if ours is not None and any(value is not None and value > ours for value in values):
            raise UnclearRow(
                f"{who} and {scored.name} disagree on which answer is better; name the one to go by "
                f"(data.winner_feature: {who}, or data.score_feature: {scored.name})"
            )


def _check_names(answers: Answers, best: int, who: str) -> None:
    """Raises `UnclearRow` where the columns' own names say that another answer is better, as `y_w` and `y_l` do."""
    better = known_sides(answers.names)
    if better is not None and answers.names[best] != better[0]:
        raise UnclearRow(
            f"{who} says that {answers.names[best]} is better than {better[0]}, whose name says the opposite; name the one to "
            f"go by (data.winner_feature: {who}, or data.chosen_feature: {better[0]} and data.rejected_feature: {better[1]})"
        )


def _margin(
    row: Mapping[str, Any], answers: Answers, places: tuple[int, int], ballot: Ballot
) -> tuple[float | None, frozenset[str]]:
    """By the answers' own scores, or the strength of the preference; None where there is neither."""
    if ballot.column and ballot.signed:
        amount = as_number(row.get(ballot.column))
        return (None if amount is None else abs(amount)), frozenset()
    for scored in known_scores(scores_of(row, answers)):
        chosen, rejected = (scored.values[place] for place in places)
        if not scored.is_rank and chosen is not None and rejected is not None:
            return chosen - rejected, scored.columns
    return None, frozenset()


def _column_of(rows: Mapping[int, Mapping[str, Any]]) -> str:
    """The column of the winner, "" where several may be it."""
    found = sorted({column for row in rows.values() for column in verdicts(row)})
    safer = [column for column in found if "safer" in words_of(column)]
    if len(found) > len(
        safer
    ):  # PKU-SafeRLHF: the better answer is what preference is about, unless the spec asks for the safer
        found = [column for column in found if column not in safer]
    return found[0] if len(found) == 1 else ""


def _several(columns: list[str]) -> str:
    listed = " and ".join(map(repr, columns))
    return f"the columns {listed} may each say which answer won; name the one (data.winner_feature: {' or '.join(columns)})"


def _tie_columns(row: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(column for column in row if key_of(column) in ("winner_tie", "tie"))


def _notes(rows: Mapping[int, Mapping[str, Any]], ballot: Ballot) -> list[str]:
    if not ballot.column:
        return []
    notes = [f"which answer is chosen goes by the column {ballot.name}"]
    others = sorted({column for row in rows.values() for column in verdicts(row)} - {ballot.column})
    for column in others:
        differ = sum(row.get(column) != row.get(ballot.column) for row in rows.values())
        notes.append(
            f"{column} says otherwise in {differ} of {len(rows)} rows (data.winner_feature: {column} would go by it)"
        )
    return notes


@hookimpl
def register_formats(register: Callable[[str, RowFormat], None]) -> None:
    register("winner", Winner())
