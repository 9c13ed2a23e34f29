"""Reads several answers to a prompt in one row, each with a score or a rank: UltraFeedback, Nectar, WebGPT comparisons.

The answers are a list of objects (`completions`), a list beside a list of scores, or numbered columns with numbered
scores. A higher score is better; a rank is better the lower it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from prefd.plugins.formats.answers import Answers, find_answers, why_none
from prefd.plugins.formats.approvals import check_marks, marks_of
from prefd.plugins.formats.compose import compose, gather
from prefd.plugins.formats.matching import Match, matches_of, unused_note
from prefd.plugins.formats.readings import first_pair
from prefd.plugins.formats.row_shape import RowShape
from prefd.plugins.formats.scored import pick, scores_of, signed, why_unscored
from prefd.plugins.formats.sides import Sides, find_sides, has_worse_side
from prefd.plugins.formats.verdicts import one_hot, verdicts
from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import Pair, Reading, ReadOptions, RowFormat, UnusableRow

PRECEDENCE = 40
ROW_SHAPES = (
    RowShape(
        "a list of answers with scores or ranks (`completions`, `answers`, `generations` and `ratings`), or `answer_0` and `score_0`, …",
        "pairs by `data.pairs`",
        "UltraFeedback, Nectar, WebGPT",
    ),
)


class Ranked:
    """Makes pairs by `data.pairs`; the best answer against the worst by default."""

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Says whether `row` has several answers with scores, and nothing else says which is better."""
        if find_sides(row) is not None or has_worse_side(row) or verdicts(row) or one_hot(row):
            return False
        answers = find_answers(row)
        return answers is not None and bool(scores_of(row, answers))

    def pair(self, row: Mapping[str, Any]) -> Pair:
        """Makes the first pair of `row`. Raises `UnusableRow`."""
        return first_pair(self.read({1: row}, ReadOptions()))

    def read(self, rows: Mapping[int, Mapping[str, Any]], options: ReadOptions) -> Reading:
        """Makes the pairs of all rows, with notes on the scores that they go by."""
        reading, score_counts, unused_total = Reading(), Counter[str](), 0
        for row_number, row in rows.items():
            try:
                row_pairs = _read_row(row, options)
            except UnusableRow as reason:
                reading.unusable.append((row_number, reason))
                continue
            reading.pairs += [(row_number, pair) for pair in row_pairs.pairs]
            reading.unusable += [(row_number, reason) for reason in row_pairs.unusable]
            reading.columns[row_number] = row_pairs.columns
            score_counts[row_pairs.score_name] += 1
            unused_total += row_pairs.unused_count
        reading.notes += [
            f"answers are compared by {options.original(name)} ({count} {'row' if count == 1 else 'rows'})"
            for name, count in score_counts.items()
        ]
        reading.notes += _unread_keys(rows, score_counts)
        reading.notes += unused_note(unused_total, options)
        return reading


class _Found(NamedTuple):
    """The pairs of one row, and what was left out of them."""

    pairs: list[Pair]
    unusable: list[UnusableRow]
    columns: set[str]
    score_name: str
    unused_count: int


def _read_row(row: Mapping[str, Any], options: ReadOptions) -> _Found:
    answers = find_answers(row)
    if answers is None:
        raise why_none(row, "ranked")
    scores = scores_of(row, answers)
    if not scores:
        raise why_unscored(row, answers)
    score = pick(scores, options.score)
    values = signed(score.name, score.values)
    matches, unused = matches_of(values, options)
    if options.score is None:
        check_marks(marks_of(row, answers), score.name, values, matches)
    pairs, unusable = gather(partial(_pair, row, answers, match) for match in matches)
    pairs_with_margin = [replace(pair, margin=None) if score.is_rank else pair for pair, _ in pairs]
    columns = {column for _, pair_columns in pairs for column in pair_columns} | answers.columns | score.columns
    return _Found(pairs_with_margin, unusable, columns, score.name, len(unused))


def _pair(row: Mapping[str, Any], answers: Answers, match: Match) -> tuple[Pair, frozenset[str]]:
    pair, columns = compose(row, Sides(answers.texts[match.chosen], answers.texts[match.rejected], answers.columns))
    return replace(pair, margin=match.margin), columns


def _unread_keys(rows: Mapping[int, Mapping[str, Any]], score_counts: Counter[str]) -> list[str]:
    """Says what the objects of a list say of each answer beside its text and its score."""
    keys: dict[str, set[str]] = {}
    for row in rows.values():
        if (answers := find_answers(row)) and answers.items:
            column = min(answers.columns)
            keys.setdefault(column, set()).update(key for item in answers.items for key in item if key != answers.key)
    score_keys = {
        column: {name.rpartition(".")[2] for name in score_counts if name.startswith(f"{column}.")} for column in keys
    }
    return [
        f"of {column}, not read: {', '.join(sorted(all_keys - score_keys[column]))}"
        for column, all_keys in keys.items()
        if all_keys - score_keys[column]
    ]


@hookimpl
def register_formats(register: Callable[[str, RowFormat], None]) -> None:
    """Registers `ranked`."""
    register("ranked", Ranked())
