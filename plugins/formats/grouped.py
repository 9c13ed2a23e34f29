"""Reads rows of one answer with its score, several rows to a prompt: HelpSteer2, and `{prompt, response, score}`.

The rows of a prompt are brought together wherever they stand; a pair has the number of its chosen answer's row.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from prefd.plugins.formats.answers import as_number
from prefd.plugins.formats.approvals import check_marks, select_marks
from prefd.plugins.formats.compose import compose
from prefd.plugins.formats.matching import Match, check_agree, matches_of, unused_note
from prefd.plugins.formats.names import words_of
from prefd.plugins.formats.prompt import find_prompt, with_turns
from prefd.plugins.formats.row_shape import RowShape
from prefd.plugins.formats.score_words import RANKS
from prefd.plugins.formats.scored import signed
from prefd.plugins.formats.sides import Sides
from prefd.plugins.formats.single import Single, find_single
from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import Pair, Reading, ReadOptions, RowFormat, UnusableRow

PRECEDENCE = 30
ROW_SHAPES = (
    RowShape(
        "`prompt`, `response`, `score` (`helpfulness`, …), several rows to a prompt",
        "pairs by `data.pairs`, from the answers to one prompt",
        "HelpSteer2",
    ),
)
Member = tuple[int, Mapping[str, Any], Single]
"""A row by its number, with its answer."""


class Grouped:
    """Makes pairs by `data.pairs` of the answers to one prompt; the best against the worst by default."""

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Says whether `row` has one answer and a score."""
        single = find_single(row)
        return single is not None and bool(single.scores)

    def pair(self, row: Mapping[str, Any]) -> Pair:
        """Raises `UnusableRow`: one row alone makes no pair."""
        raise UnusableRow("one scored answer: the others to its prompt stand in other rows")

    def read(self, rows: Mapping[int, Mapping[str, Any]], options: ReadOptions) -> Reading:
        """Brings the rows of each prompt together, and makes their pairs."""
        reading, score_counts, unused_total = Reading(), Counter[str](), 0
        groups: dict[str, list[Member]] = {}
        for row_number, row in rows.items():
            try:
                single = _single(row)
                groups.setdefault(_prompt_key(row, single), []).append((row_number, row, single))
            except UnusableRow as reason:
                reading.unusable.append((row_number, reason))
        for members in groups.values():
            columns = {options.score or members[0][2].scores[0]}
            try:
                pairs, unusable, unused_count = _pairs(members, options)
            except UnusableRow as reason:
                reading.unusable += [(row_number, reason) for row_number, *_ in members]
                continue
            reading.unusable += unusable
            for pair_number, pair, columns_read in pairs:
                reading.pairs.append((pair_number, pair))
                reading.columns.setdefault(pair_number, set()).update(columns_read | columns)
            score_counts.update(columns)
            unused_total += unused_count
        reading.pairs.sort(key=lambda numbered_pair: numbered_pair[0])
        reading.notes += [
            f"answers to one prompt are compared by {options.original(name)} ({count} {'prompt' if count == 1 else 'prompts'})"
            for name, count in score_counts.items()
        ]
        reading.notes += unused_note(unused_total, options)
        return reading


def _single(row: Mapping[str, Any]) -> Single:
    single = find_single(row)
    if single is None or not single.scores:
        raise UnusableRow("no answer with a score")
    return single


def _pairs(
    members: Sequence[Member], options: ReadOptions
) -> tuple[list[tuple[int, Pair, frozenset[str]]], list[tuple[int, UnusableRow]], int]:
    if len(members) < 2:
        raise UnusableRow("no other answer to its prompt")
    names = [options.score] if options.score else members[0][2].scores
    kinds = {name: signed(name, [as_number(row.get(name)) for _, row, _ in members]) for name in names}
    check_agree(kinds)
    matches, unused = matches_of(kinds[names[0]], options)
    if not options.score:
        marks = {column: [row.get(column) for _, row, _ in members] for column in sorted(members[0][1])}
        check_marks(select_marks(marks), names[0], kinds[names[0]], matches)
    pairs, unusable = [], []
    for match in matches:
        try:
            pairs.append(_pair(members, match))
        except UnusableRow as reason:
            unusable.append((members[match.chosen][0], reason))
    if not pairs:
        raise unusable[0][1]
    if not RANKS.isdisjoint(words_of(names[0])):
        pairs = [(number, replace(pair, margin=None), columns) for number, pair, columns in pairs]
    return pairs, unusable, len(unused)


def _pair(members: Sequence[Member], match: Match) -> tuple[int, Pair, frozenset[str]]:
    (chosen_number, row, chosen), (_, _, rejected) = members[match.chosen], members[match.rejected]
    pair, columns = compose(row, Sides(chosen.answer, rejected.answer, frozenset([chosen.column])))
    return chosen_number, replace(pair, margin=match.margin), columns


def _prompt_key(row: Mapping[str, Any], single: Single) -> str:
    prompt = find_prompt(row, frozenset([single.column]), [single.answer])
    text, _ = with_turns(row, prompt.text, prompt.columns | {single.column})
    return json.dumps([text, row.get("tools"), row.get("chat_template_kwargs")], sort_keys=True, default=str)


@hookimpl
def register_formats(register: Callable[[str, RowFormat], None]) -> None:
    """Registers `grouped`."""
    register("grouped", Grouped())
