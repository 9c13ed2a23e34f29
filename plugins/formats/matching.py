"""Makes pairs out of the scored answers to one prompt: the best against the worst, the best against the rest, or all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from prefd.plugins.types import ReadOptions, UnclearRow, UnusableRow


class Match(NamedTuple):
    """Match names the places of the better and the worse answer, and by how much it is better."""

    chosen: int
    rejected: int
    margin: float


def matches_of(scores: Sequence[float | None], options: ReadOptions) -> tuple[list[Match], set[int]]:
    """Makes the matches, and names the places of the answers in none of them. Equal scores make no match.

    Answers without a score are left out. Raises `UnusableRow` where there is no match at all.
    """
    scored = [(place, score) for place, score in enumerate(scores) if score is not None]
    if len(scored) < 2:
        raise UnusableRow("fewer than two answers with a score to one prompt")
    best, worst = max(scored, key=lambda item: item[1]), min(scored, key=lambda item: item[1])
    if best[1] == worst[1]:
        raise UnusableRow("a tie: all answers have the same score")
    if options.pairs == "all":
        matches = [_match(first, second) for first, second in combinations(scored, 2) if first[1] != second[1]]
    elif options.pairs == "best_rest":
        matches = [_match(best, second) for second in scored if second[1] != best[1]]
    else:
        matches = [_match(best, worst)]
    return matches, set(range(len(scores))) - {place for match in matches for place in match[:2]}


def check_agree(scores: Mapping[str, Sequence[float | None]]) -> None:
    """Raises `UnclearRow` where two kinds of scores put two answers in different orders."""
    for (name, scores_of_one), (other, scores_of_other) in combinations(scores.items(), 2):
        score_pairs = [(a, b) for a, b in zip(scores_of_one, scores_of_other) if a is not None and b is not None]
        if any((a[0] - b[0]) * (a[1] - b[1]) < 0 for a, b in combinations(score_pairs, 2)):
            raise UnclearRow(
                f"{name} and {other} disagree on which answer is better; name the one to go by "
                f"(data.score_feature: {name} or {other})"
            )


def _match(first: tuple[int, float], second: tuple[int, float]) -> Match:
    (better, high), (worse, low) = (first, second) if first[1] > second[1] else (second, first)
    return Match(better, worse, high - low)


def unused_note(count: int, options: ReadOptions) -> list[str]:
    """Tells how many scored answers are in no pair, and which setting takes more; nothing where all are."""
    if not count:
        return []
    settings = {"best_worst": "data.pairs: best_rest or all takes more", "best_rest": "data.pairs: all takes more"}
    remedy = f" ({settings[options.pairs]})" if options.pairs in settings else ""
    return [f"{count} scored {'answer is' if count == 1 else 'answers are'} in no pair{remedy}"]
