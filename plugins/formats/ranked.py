"""Several answers to a prompt in one row, each with a score or a rank: UltraFeedback, Nectar, WebGPT comparisons.

The answers are a list of objects (`completions`), a list beside a list of scores, or numbered columns with numbered
scores. A higher score is better; a rank is better the lower it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from prefd.plugins.formats.answers import Answers, find_answers, number
from prefd.plugins.formats.ballot import one_hot, verdicts
from prefd.plugins.formats.compose import compose
from prefd.plugins.formats.matching import check_agree, matches_of, unused_note
from prefd.plugins.formats.names import RANKS, SCORES, key_of, numbered_columns, words_of
from prefd.plugins.formats.sides import Sides, find_sides
from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import Pair, Reading, ReadOptions, RowFormat, UnclearRow, UnusableRow


class Scored(NamedTuple):
    """The numbers of the answers under one name."""

    name: str
    values: Sequence[float | None]
    columns: frozenset[str]


class Ranked:
    """Pairs by `data.pairs`; the best against the worst by default."""

    def matches(self, row: Mapping[str, Any]) -> bool:
        if find_sides(row) is not None or verdicts(row) or one_hot(row):
            return False
        answers = find_answers(row)
        return answers is not None and bool(_scored(row, answers))

    def pair(self, row: Mapping[str, Any]) -> Pair:
        reading = self.read({1: row}, ReadOptions())
        if not reading.pairs:
            raise reading.unusable[0][1]
        return reading.pairs[0][1]

    def read(self, rows: Mapping[int, Mapping[str, Any]], options: ReadOptions) -> Reading:
        reading, used, unused = Reading(), Counter[str](), 0
        for row_number, row in rows.items():
            try:
                pairs, columns, scored, left = _pairs(row, options)
            except UnusableRow as reason:
                reading.unusable.append((row_number, reason))
                continue
            reading.pairs += [(row_number, pair) for pair in pairs]
            reading.columns |= columns
            used[scored] += 1
            unused += left
        reading.notes += [f"answers are compared by {name} ({count} rows)" for name, count in used.items()]
        reading.notes += _unread_keys(rows, used)
        reading.notes += unused_note(unused, options)
        return reading


def _pairs(row: Mapping[str, Any], options: ReadOptions) -> tuple[list[Pair], frozenset[str], str, int]:
    answers = find_answers(row)
    if answers is None:
        raise UnusableRow("not in the dataset's format (ranked)")
    scored = _pick(_scored(row, answers), options.score)
    low_is_good = words_of(scored.name)[-1] in RANKS
    matches, left = matches_of(_signed(scored.name, scored.values), options)
    pairs, columns = [], answers.columns | scored.columns
    for match in matches:
        sides = Sides(answers.texts[match.chosen], answers.texts[match.rejected], answers.columns)
        pair, read = compose(row, sides)
        pairs.append(replace(pair, margin=None if low_is_good else match.margin))
        columns |= read
    return pairs, columns, scored.name, len(left)


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


def _scored(row: Mapping[str, Any], answers: Answers) -> list[Scored]:
    """Everything that gives each answer a number."""
    if answers.items:
        (column,) = answers.columns
        keys = sorted({key for item in answers.items for key in item})
        found = [Scored(key, [number(item.get(key)) for item in answers.items], frozenset()) for key in keys]
        found = [one._replace(name=f"{column}.{one.name}") for one in found]
    elif answers.names:
        found = [
            Scored("_".join(base), [number(row[columns[mark]]) for mark in answers.marks], frozenset(columns.values()))
            for base, columns in numbered_columns(row).items()
            if set(answers.marks) <= columns.keys() and frozenset(columns.values()) != answers.columns
        ]
        found = [one for one in found if words_of(one.name)[-1] in (*SCORES, *RANKS)]
    else:
        lists = {column: row[column] for column in sorted(row) if column not in answers.columns}
        found = [
            Scored(column, [number(one) for one in value], frozenset([column]))
            for column, value in lists.items()
            if isinstance(value, list | tuple) and len(value) == len(answers.texts)
        ]
    return [one for one in found if any(value is not None for value in one.values)]


def _pick(scored: Sequence[Scored], named: str | None) -> Scored:
    """The scores to go by: those that the spec names, else by their name. Raises `UnclearRow` where none is known."""
    names = {_own_name(one.name): one for one in scored}
    if named is not None:
        key = key_of(named.rpartition(".")[2])
        if key not in names:
            raise UnusableRow(f"no answer has a number in {named!r}")
        return names[key]
    exact = [name for name in (*SCORES, *RANKS) if name in names]
    check_agree({name: _signed(name, names[name].values) for name in exact})
    known = exact or [name for name in sorted(names) if name.split("_")[-1] in (*SCORES, *RANKS)]
    if not known or (not exact and len(known) > 1):
        listed = " or ".join(sorted(names))
        raise UnclearRow(f"it is not certain which number is the score; name it (data.score_feature: {listed})")
    return names[known[0]]


def _signed(name: str, values: Sequence[float | None]) -> list[float | None]:
    """`values` so that higher is better."""
    low_is_good = words_of(name)[-1] in RANKS
    return [None if value is None else -value if low_is_good else value for value in values]


def _own_name(name: str) -> str:
    return key_of(name.rpartition(".")[2])


@hookimpl
def register_formats(register: Callable[[str, RowFormat], None]) -> None:
    register("ranked", Ranked())
