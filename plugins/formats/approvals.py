"""Reads marks of an answer beside its score, as `is_accepted`: a mark must not say that another answer is the best.

A mark gives no pair by itself: of two answers that are not accepted nobody knows which is the worse one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefd.plugins.formats.answers import Answers, as_number
from prefd.plugins.formats.matching import Match
from prefd.plugins.formats.names import BETTER, words_of
from prefd.plugins.formats.numbering import numbered_columns
from prefd.plugins.formats.score_words import LESS, RANKS, SCORES
from prefd.plugins.formats.verdicts import LOSERS, VERDICTS
from prefd.plugins.types import UnclearRow


def marks_of(row: Mapping[str, Any], answers: Answers) -> dict[str, list[Any]]:
    """Lists everything in `row` that marks some of its answers as the better ones, by its name."""
    if answers.items:
        (column,) = answers.columns
        keys = sorted({key for item in answers.items for key in item})
        values = {f"{column}.{key}": [item.get(key) for item in answers.items] for key in keys}
    elif answers.names:
        values = {
            "_".join(base): [row[columns[mark]] for mark in answers.marks]
            for base, columns in numbered_columns(row).items()
            if set(answers.marks) <= columns.keys() and frozenset(columns.values()) != answers.columns
        }
    else:
        values = {
            column: list(row[column])
            for column in sorted(row)
            if column not in answers.columns
            and isinstance(row[column], list | tuple)
            and len(row[column]) == len(answers.texts)
        }
    return select_marks(values)


def select_marks(values: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Selects those of `values` ({name: one of each answer}) that mark some answers as the better ones and others not."""
    return {name: list(marks) for name, marks in values.items() if _is_mark(name) and _are_yes_or_no(marks)}


def check_marks(
    marks: Mapping[str, Sequence[Any]], score_name: str, scores: Sequence[float | None], matches: Sequence[Match]
) -> None:
    """Raises `UnclearRow` where a mark and the scores (higher is better) disagree on which answer is the better one."""
    for name, values in marks.items():
        is_marked = [as_number(value) == 1 or value is True for value in values]
        best = max(score for score in scores if score is not None)
        best_marked = [score for score, marked in zip(scores, is_marked) if marked and score is not None]
        is_turned = any(is_marked[match.rejected] and not is_marked[match.chosen] for match in matches)
        if is_turned or (best_marked and max(best_marked) < best):
            raise UnclearRow(
                f"{name} and {score_name} disagree on which answer is better; where it is the score, name it "
                f"(data.score_feature: {score_name}), or else write the marked answer into a column 'chosen' and the other into "
                "'rejected'"
            )


def _is_mark(name: str) -> bool:
    words = words_of(name.rpartition(".")[2])
    return (
        not (VERDICTS | BETTER).isdisjoint(words)
        and (LOSERS | LESS).isdisjoint(words)
        and words[-1] not in (*SCORES, *RANKS)
    )


def _are_yes_or_no(values: Sequence[Any]) -> bool:
    """Says whether each is true or false, or 1 or 0, and one at least is true."""
    answers = {int(value) if isinstance(value, bool) else as_number(value) for value in values if value is not None}
    return 1 in answers and answers <= {0, 1}
