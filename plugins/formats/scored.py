"""Finds the scores or ranks of the answers in one row, and picks those to go by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prefd.plugins.formats.answers import Answers, as_number
from prefd.plugins.formats.matching import check_agree
from prefd.plugins.formats.names import ANSWERS, WORSE, key_of, words_of
from prefd.plugins.formats.numbering import numbered_columns
from prefd.plugins.formats.score_words import GOOD, LESS, LOW, RANKS, SCORES
from prefd.plugins.types import UnclearRow, UnusableRow

ABOUT = frozenset(
    [
        "id",
        "idx",
        "index",
        "tokens",
        "token",
        "length",
        "len",
        "num",
        "number",
        "count",
        "time",
        "timestamp",
        "date",
        "batch",
        "version",
        "turn",
        "turns",
        "year",
        "seed",
    ]
)
"""Words of numbers that are no score, which nobody is advised to name."""


class Scored(NamedTuple):
    """Scored holds the numbers of the answers under one name, a score or a rank."""

    name: str
    values: Sequence[float | None]
    columns: frozenset[str]

    @property
    def is_rank(self) -> bool:
        """Says whether lower is better."""
        return words_of(self.name)[-1] in RANKS


def scores_of(row: Mapping[str, Any], answers: Answers) -> list[Scored]:
    """Lists everything in `row` that gives each answer a number."""
    if answers.items:
        (column,) = answers.columns
        keys = sorted({key for item in answers.items for key in item})
        scores = [Scored(key, [as_number(item.get(key)) for item in answers.items], frozenset()) for key in keys]
        scores = [score._replace(name=f"{column}.{score.name}") for score in scores]
    elif answers.names:
        scores = [
            Scored(
                "_".join(base), [as_number(row[columns[mark]]) for mark in answers.marks], frozenset(columns.values())
            )
            for base, columns in numbered_columns(row).items()
            if set(answers.marks) <= columns.keys() and frozenset(columns.values()) != answers.columns
        ]
        scores = [score for score in scores if words_of(score.name)[-1] in (*SCORES, *sorted(RANKS))]
    else:
        lists = {column: row[column] for column in sorted(row) if column not in answers.columns}
        scores = [
            Scored(column, [as_number(item) for item in items], frozenset([column]))
            for column, items in lists.items()
            if isinstance(items, list | tuple) and len(items) == len(answers.texts)
        ]
    return [score for score in scores if any(value is not None for value in score.values)]


def pick(scored: Sequence[Scored], score_name: str | None) -> Scored:
    """Picks the scores to go by: those that the spec names, else by their name.

    Raises `UnclearRow` where none is known.
    """
    names = {_own_name(scores.name): scores for scores in scored}
    possible_names = sorted(
        name for name in names if not is_order(name) and not is_low(name) and ABOUT.isdisjoint(words_of(name))
    )
    if score_name is not None:
        key = key_of(score_name.rpartition(".")[2])
        if key not in names:
            numbers_hint = f"; there are: {', '.join(possible_names)}" if possible_names else ""
            raise UnusableRow(f"no answer has a number in {score_name!r}{numbers_hint}")
        if is_order(key):
            raise UnclearRow(f"{score_name} may be places or an order; where 1 is the best answer's, call it 'ranks'")
        if is_low(key):
            raise UnclearRow(low_is_better(score_name))
        return names[key]
    exact_names = [name for name in (*SCORES, *sorted(RANKS)) if name in names]
    check_agree({name: signed(name, names[name].values) for name in exact_names})
    candidates = exact_names or [name for name in sorted(names) if _is_score(name)]
    if not candidates or (not exact_names and len(candidates) > 1):
        raise UnclearRow(_which(sorted(names), possible_names))
    return names[candidates[0]]


def why_unscored(row: Mapping[str, Any], answers: Answers) -> UnusableRow:
    """Explains why no answer of a row has a number, in a dataset whose rows have some."""
    for column in sorted(row):
        value = row[column]
        is_list = isinstance(value, list | tuple) and column not in answers.columns
        if (
            is_list
            and words_of(column)[-1:]
            and words_of(column)[-1] in (*SCORES, *RANKS)
            and len(value) != len(answers.texts)
        ):
            return UnusableRow(f"{column} has {len(value)} numbers for {len(answers.texts)} answers")
    return UnusableRow("no answer has a score")


def is_low(name: str) -> bool:
    """Says whether a number of this name is better the lower it is."""
    return not (LOW | WORSE | LESS).isdisjoint(words_of(name))


def low_is_better(name: str) -> str:
    """Explains to the user what to do with a number that is better the lower it is."""
    return (
        f"{name}, by its name, is better the lower it is, and the highest score is taken for the best: "
        "write it negated, under the name 'score' (a list: 'scores')"
    )


def _is_score(name: str) -> bool:
    """Says whether a name says for certain that higher is better, or that it is a rank."""
    *words_before, last = words_of(name)
    return last in (*SCORES, *RANKS) and all(word in GOOD | ANSWERS or word.isdigit() for word in words_before)


def _which(names: Sequence[str], may_be: Sequence[str]) -> str:
    """Says what to do where no score is known: the setting, with those numbers that may be it."""
    if may_be:
        return (
            f"it is not certain which number is the score; name it (data.score_feature: {' or '.join(may_be)}) "
            "where it is better the higher it is"
        )
    if low := [name for name in names if is_low(name)]:
        return low_is_better(low[0])
    if order := [name for name in names if is_order(name)]:
        return f"{' and '.join(order)} may be places or an order; where 1 is the best answer's, call it 'ranks'"
    return f"{' and '.join(names)} is no certain score of an answer; call what is its score 'score' (a list: 'scores')"


def is_order(name: str) -> bool:
    """Says whether neither a high nor a low number of this name is certain to be the good one."""
    return not {"ranking", "rankings", "order", "ordering", "position", "positions", "place"}.isdisjoint(words_of(name))


def signed(name: str, values: Sequence[float | None]) -> list[float | None]:
    """Turns `values` so that higher is better. Raises `UnclearRow` for ranks below 0, which may be turned already."""
    low_is_good = words_of(name)[-1] in RANKS
    if low_is_good and any(value is not None and value < 0 for value in values):
        raise UnclearRow(
            f"{name} is below 0 and no place: where it is better the higher it is, call it 'score' (a list: 'scores')"
        )
    return [None if value is None else -value if low_is_good else value for value in values]


def _own_name(name: str) -> str:
    return key_of(name.rpartition(".")[2])


def known_scores(scored: Sequence[Scored]) -> list[Scored]:
    """Selects those whose names say that they are scores or ranks, the surest first."""
    names = {_own_name(scores.name): scores for scores in scored}
    return [names[name] for name in (*SCORES, *sorted(RANKS)) if name in names]
