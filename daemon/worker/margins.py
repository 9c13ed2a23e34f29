"""Scores beside the two sides: how far the chosen answer is ahead, and where the scores say otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from prefd.daemon.dataspec import DataSpec
from prefd.daemon.worker.dataset import Dataset
from prefd.daemon.worker.rows import DataError
from prefd.plugins.formats.answers import as_number
from prefd.plugins.formats.names import ANSWERS, BETTER, WORSE, words_of
from prefd.plugins.formats.sides import known_sides
from prefd.plugins.types import Pair, UnusableRow

SCORES = frozenset(["score", "scores", "rating", "reward", "grade"])
BESIDE = ANSWERS | {"avg", "average", "mean", "overall", "rm", "model"}


def score(made: Dataset, spec: DataSpec) -> None:
    """Counts pairs whose scores contradict them, and leaves out those below `data.min_margin`. Raises `DataError`."""
    scored, torn = [], []
    for number, pair in made.pairs:
        with_score, columns, agree = with_margin(pair, made.named.usable[number])
        made.read.setdefault(number, set()).update(columns)
        scored.append((number, with_score))
        torn += [] if agree else [number]
    made.pairs = scored
    if torn:
        _tell_of(torn, made, spec)
    if spec.min_margin is not None:
        _leave_out(made, spec.min_margin)
    known = [(number, pair.margin) for number, pair in made.pairs if pair.margin is not None]
    for rows, what, least in (
        ([number for number, margin in known if margin < 0], "chosen scores lower than rejected", "data.min_margin"),
        (
            [number for number, margin in known if margin == 0],
            "both sides have the same score",
            "a data.min_margin above 0",
        ),
    ):
        if rows:
            pairs = "pair" if len(rows) == 1 else "pairs"
            made.notes.append(f"in {len(rows)} {pairs} {what} ({made.name_rows(rows)}); {least} leaves such pairs out")


def _leave_out(made: Dataset, least: float) -> None:
    """Takes the pairs with a smaller margin out, and those that have none."""
    margins = [(number, pair.margin) for number, pair in made.pairs]
    if all(margin is None for _, margin in margins):
        raise DataError(
            f"data.min_margin: {made.where.partition(': ')[2]} has no scores of both sides (as score_chosen and "
            f"score_rejected); its columns: {', '.join(made.named.columns)}"
        )
    made.pairs = [(number, pair) for number, pair in made.pairs if pair.margin is not None and pair.margin >= least]
    kept = {number for number, _ in made.pairs}
    low = {number for number, margin in margins if margin is not None and margin < least}
    none = {number for number, margin in margins if margin is None}
    made.unusable += [
        (number, UnusableRow(f"a margin below data.min_margin {least:g}")) for number in sorted(low - kept)
    ]
    made.unusable += [(number, UnusableRow("no scores, which data.min_margin needs")) for number in sorted(none - kept)]
    if part := sorted(low & kept):
        made.notes.append(f"pairs below data.min_margin {least:g} are left out of {made.name_rows(part)}")


def with_margin(pair: Pair, row: Mapping[str, Any]) -> tuple[Pair, frozenset[str], bool]:
    """`pair` with the difference of the row's scores, their columns, and whether kinds of scores agree on who is ahead.

    The pair is as it was where the row has no scores.
    """
    kinds = score_columns(tuple(sorted(row)))
    if pair.margin is not None or not kinds:
        return pair, frozenset(), True
    columns = frozenset(column for kind in kinds for column in kind)
    scores = [[as_number(row[column]) for column in kind] for kind in kinds]
    margins = [better - worse for better, worse in scores if better is not None and worse is not None]
    if not margins or None in scores[0]:
        return pair, columns, True
    return replace(pair, margin=margins[0]), columns, min(margins) >= 0 or max(margins) <= 0


@lru_cache(maxsize=1024)
def score_columns(columns: tuple[str, ...]) -> list[tuple[str, str]]:
    """The columns of both sides' scores, as `score_chosen` and `score_rejected`, of each kind; the plainest name first.

    Beside `response_j` and `response_k` they are `score_j` and `score_k`.
    """
    if sides := known_sides(columns):
        better, worse = (words_of(side)[-1:] for side in sides)
        return _score_columns(columns, frozenset(better), frozenset(worse))
    return _score_columns(columns, BETTER, WORSE)


def _score_columns(columns: tuple[str, ...], better: frozenset[str], worse: frozenset[str]) -> list[tuple[str, str]]:
    chosen = {key: column for column in columns if (key := _without(column, better)) is not None}
    rejected = {key: column for column in columns if (key := _without(column, worse)) is not None}
    shared = sorted(chosen.keys() & rejected.keys(), key=lambda key: (len(key), key))
    return [(chosen[key], rejected[key]) for key in shared]


def _tell_of(torn: Sequence[int], made: Dataset, spec: DataSpec) -> None:
    """Says where kinds of scores disagree. Raises `DataError` where pairs are left out by one of them."""
    columns = tuple(sorted({column for number in torn for column in made.named.usable[number]}))
    kinds = [" and ".join(kind) for kind in score_columns(columns)]
    said = f"{', '.join(kinds[:-1])} disagree with {kinds[-1]} on which side is better ({made.name_rows(torn)})"
    if spec.min_margin is not None:
        ignored = " or ".join(f"[{', '.join(kind)}]" for kind in score_columns(columns))
        raise DataError(
            f"data.min_margin: {made.where.partition(': ')[2]}: {said}; leave out those not to go by (data.ignore_columns: {ignored})"
        )
    made.notes.append(said)


def _without(column: str, sides: frozenset[str]) -> tuple[str, ...] | None:
    """The words of a score's name but for the side it is of; None where it is no score of such a side."""
    words = words_of(column)
    rest = tuple(word for word in words if word not in sides)
    is_score = len(rest) == len(words) - 1 and not SCORES.isdisjoint(rest) and set(rest) <= SCORES | BESIDE
    return rest if is_score else None
