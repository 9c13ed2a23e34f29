"""Several answers to a prompt in one row, each with a score or a rank: UltraFeedback, Nectar, WebGPT comparisons.

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
from prefd.plugins.formats.ballot import one_hot, verdicts
from prefd.plugins.formats.compose import compose, gather
from prefd.plugins.formats.matching import Match, matches_of, unused_note
from prefd.plugins.formats.scored import pick, scores_of, signed, why_unscored
from prefd.plugins.formats.sides import Sides, find_sides, has_worse_side
from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import Pair, Reading, ReadOptions, RowFormat, UnusableRow


class Ranked:
    """Pairs by `data.pairs`; the best against the worst by default."""

    def matches(self, row: Mapping[str, Any]) -> bool:
        if find_sides(row) is not None or has_worse_side(row) or verdicts(row) or one_hot(row):
            return False
        answers = find_answers(row)
        return answers is not None and bool(scores_of(row, answers))

    def pair(self, row: Mapping[str, Any]) -> Pair:
        reading = self.read({1: row}, ReadOptions())
        if not reading.pairs:
            raise reading.unusable[0][1]
        return reading.pairs[0][1]

    def read(self, rows: Mapping[int, Mapping[str, Any]], options: ReadOptions) -> Reading:
        reading, used, unused = Reading(), Counter[str](), 0
        for row_number, row in rows.items():
            try:
                found = _read_row(row, options)
            except UnusableRow as reason:
                reading.unusable.append((row_number, reason))
                continue
            reading.pairs += [(row_number, pair) for pair in found.pairs]
            reading.unusable += [(row_number, reason) for reason in found.lost]
            reading.columns[row_number] = found.columns
            used[found.scored] += 1
            unused += found.left
        reading.notes += [
            f"answers are compared by {options.original(name)} ({count} {'row' if count == 1 else 'rows'})"
            for name, count in used.items()
        ]
        reading.notes += _unread_keys(rows, used)
        reading.notes += unused_note(unused, options)
        return reading


class _Found(NamedTuple):
    """What one row gave."""

    pairs: list[Pair]
    lost: list[UnusableRow]
    columns: set[str]
    scored: str
    left: int


def _read_row(row: Mapping[str, Any], options: ReadOptions) -> _Found:
    answers = find_answers(row)
    if answers is None:
        raise why_none(row, "ranked")
    scores = scores_of(row, answers)
    if not scores:
        raise why_unscored(row, answers)
    scored = pick(scores, options.score)
    matches, left = matches_of(signed(scored.name, scored.values), options)
    found, lost = gather(partial(_pair, row, answers, match) for match in matches)
    pairs = [replace(pair, margin=None) if scored.is_rank else pair for pair, _ in found]
    columns = {column for _, read in found for column in read} | answers.columns | scored.columns
    return _Found(pairs, lost, columns, scored.name, len(left))


def _pair(row: Mapping[str, Any], answers: Answers, match: Match) -> tuple[Pair, frozenset[str]]:
    pair, columns = compose(row, Sides(answers.texts[match.chosen], answers.texts[match.rejected], answers.columns))
    return replace(pair, margin=match.margin), columns


def _unread_keys(rows: Mapping[int, Mapping[str, Any]], used: Counter[str]) -> list[str]:
    """What the objects of a list say of each answer beside its text and its score."""
    keys: dict[str, set[str]] = {}
    for row in rows.values():
        if (answers := find_answers(row)) and answers.items:
            column = min(answers.columns)
            keys.setdefault(column, set()).update(key for item in answers.items for key in item if key != answers.key)
    read = {column: {name.rpartition(".")[2] for name in used if name.startswith(f"{column}.")} for column in keys}
    return [
        f"of {column}, not read: {', '.join(sorted(found - read[column]))}"
        for column, found in keys.items()
        if found - read[column]
    ]


@hookimpl
def register_formats(register: Callable[[str, RowFormat], None]) -> None:
    register("ranked", Ranked())
