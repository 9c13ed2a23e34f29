"""Pairs out of the scored answers to one prompt: the best against the worst, the best against the rest, or all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from prefd.plugins.types import ReadOptions, UnclearRow, UnusableRow


class Match(NamedTuple):
    """Places of the better and the worse answer, and by how much."""

    chosen: int
    rejected: int
    margin: float


def matches_of(scores: Sequence[float | None], options: ReadOptions) -> tuple[list[Match], set[int]]:
    """The matches, and the places of the answers in none of them. Equal scores make no match.

    Answers without a score are left out. Raises `UnusableRow` where there is no match at all.
    """
    scored = [(place, score) for place, score in enumerate(scores) if score is not None]
    if len(scored) < 2:
        raise UnusableRow("fewer than two answers with a score to one prompt")
    best, worst = max(scored, key=lambda one: one[1]), min(scored, key=lambda one: one[1])
    if best[1] == worst[1]:
        raise UnusableRow("a tie: all answers have the same score")
    if options.pairs == "all":
        found = [_match(one, other) for one, other in combinations(scored, 2) if one[1] != other[1]]
    elif options.pairs == "best_rest":
        found = [_match(best, other) for other in scored if other[1] != best[1]]
    else:
        found = [_match(best, worst)]
    return found, set(range(len(scores))) - {place for match in found for place in match[:2]}


def check_agree(scores: Mapping[str, Sequence[float | None]]) -> None:
    """Raises `UnclearRow` where two kinds of scores put two answers in different orders."""
    for (name, ours), (other, theirs) in combinations(scores.items(), 2):
        known = [(a, b) for a, b in zip(ours, theirs) if a is not None and b is not None]
        if any((a[0] - b[0]) * (a[1] - b[1]) < 0 for a, b in combinations(known, 2)):
            raise UnclearRow(
                f"{name} and {other} disagree on which answer is better; name the one to go by "
                f"(data.score_feature: {name} or {other})"
            )


def _match(one: tuple[int, float], other: tuple[int, float]) -> Match:
    (better, high), (worse, low) = (one, other) if one[1] > other[1] else (other, one)
    return Match(better, worse, high - low)


def unused_note(count: int, options: ReadOptions) -> list[str]:
    """What is said of answers that are in no pair."""
    if not count:
        return []
    how = {"best_worst": "data.pairs: best_rest or all takes more", "best_rest": "data.pairs: all takes more"}
    remedy = f" ({how[options.pairs]})" if options.pairs in how else ""
    return [f"{count} scored {'answer is' if count == 1 else 'answers are'} in no pair{remedy}"]
