"""Reads scores beside the two sides: how far the chosen answer is ahead, and where the scores contradict the pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.dataset import Dataset
from prefd.daemon.worker.data.rows import DataError
from prefd.plugins.formats.answers import as_number
from prefd.plugins.formats.names import ANSWERS, BETTER, WORSE, words_of
from prefd.plugins.formats.sides import known_sides
from prefd.plugins.types import Pair, UnusableRow

SCORES = frozenset(
    ["score", "scores", "rating", "ratings", "reward", "rewards", "grade", "grades", "points", "helpfulness", "quality"]
)
BESIDE = ANSWERS | {"avg", "average", "mean", "overall", "rm", "model"}
RANKS = frozenset(["rank", "ranks"])


def apply_scores(dataset: Dataset, spec: DataSpec) -> None:
    """Notes pairs whose scores contradict them, and leaves out those below `data.min_margin`. Raises `DataError`."""
    scored_pairs, disagreeing_rows = [], []
    for number, pair in dataset.pairs:
        with_score, columns, agree = with_margin(pair, dataset.named_rows.usable[number])
        dataset.columns_read.setdefault(number, set()).update(columns)
        scored_pairs.append((number, with_score))
        disagreeing_rows += [] if agree else [number]
    dataset.pairs = scored_pairs
    _note_ranks(dataset)
    if disagreeing_rows:
        _note_disagreement(disagreeing_rows, dataset, spec)
    if spec.min_margin is not None:
        _leave_out(dataset, spec.min_margin)
    margins = [(number, pair.margin) for number, pair in dataset.pairs if pair.margin is not None]
    for rows, problem, setting in (
        ([number for number, margin in margins if margin < 0], "chosen scores lower than rejected", "data.min_margin"),
        (
            [number for number, margin in margins if margin == 0],
            "both sides have the same score",
            "a data.min_margin above 0",
        ),
    ):
        if rows:
            pairs = "pair" if len(rows) == 1 else "pairs"
            dataset.notes.append(
                f"in {len(rows)} {pairs} {problem} ({dataset.name_rows(rows)}); {setting} leaves such pairs out"
            )


def _note_ranks(dataset: Dataset) -> None:
    """Notes pairs whose chosen answer has the worse rank: 1 is the best."""
    behind_rows = []
    for number, _ in dataset.pairs:
        row = dataset.named_rows.usable[number]
        for columns in _score_columns(tuple(sorted(row)), BETTER, WORSE, RANKS):
            chosen, rejected = (as_number(row[column]) for column in columns)
            dataset.columns_read.setdefault(number, set()).update(columns)
            if chosen is not None and rejected is not None and chosen > rejected:
                behind_rows.append(number)
    if behind_rows:
        pairs = "pair" if len(behind_rows) == 1 else "pairs"
        dataset.notes.append(
            f"in {len(behind_rows)} {pairs} chosen has the worse rank, where 1 is the best ({dataset.name_rows(behind_rows)})"
        )


def _leave_out(dataset: Dataset, min_margin: float) -> None:
    """Takes the pairs with a smaller margin out, and those that have none."""
    margins = [(number, pair.margin) for number, pair in dataset.pairs]
    if all(margin is None for _, margin in margins):
        raise DataError(
            f"data.min_margin: {dataset.where.partition(': ')[2]} has no scores of both sides (as score_chosen and "
            f"score_rejected); its columns: {', '.join(dataset.named_rows.columns)}"
        )
    dataset.pairs = [
        (number, pair) for number, pair in dataset.pairs if pair.margin is not None and pair.margin >= min_margin
    ]
    rows_with_pairs = {number for number, _ in dataset.pairs}
    low_rows = {number for number, margin in margins if margin is not None and margin < min_margin}
    rows_without_margin = {number for number, margin in margins if margin is None}
    dataset.unusable += [
        (number, UnusableRow(f"a margin below data.min_margin {min_margin:g}"))
        for number in sorted(low_rows - rows_with_pairs)
    ]
    dataset.unusable += [
        (number, UnusableRow("no scores, which data.min_margin needs"))
        for number in sorted(rows_without_margin - rows_with_pairs)
    ]
    if partly_low_rows := sorted(low_rows & rows_with_pairs):
        dataset.notes.append(
            f"pairs below data.min_margin {min_margin:g} are left out of {dataset.name_rows(partly_low_rows)}"
        )


def with_margin(pair: Pair, row: Mapping[str, Any]) -> tuple[Pair, frozenset[str], bool]:
    """Returns `pair` with the difference of the row's scores, their columns, and whether kinds of scores agree on who is ahead.

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
    """Finds the columns of both sides' scores, as `score_chosen` and `score_rejected`, by kind, the plainest first.

    Beside `response_j` and `response_k` they are `score_j` and `score_k`.
    """
    if sides := known_sides(columns):
        better, worse = (frozenset(words_of(side)[-1:]) for side in sides)
        return _score_columns(columns, better, worse)
    return _score_columns(columns, BETTER, WORSE)


def _score_columns(
    columns: tuple[str, ...], better: frozenset[str], worse: frozenset[str], scores: frozenset[str] = SCORES
) -> list[tuple[str, str]]:
    chosen = {key: column for column in columns if (key := _without(column, better, scores)) is not None}
    rejected = {key: column for column in columns if (key := _without(column, worse, scores)) is not None}
    shared = sorted(chosen.keys() & rejected.keys(), key=lambda key: (len(key), key))
    return [(chosen[key], rejected[key]) for key in shared]


def _note_disagreement(disagreeing_rows: Sequence[int], dataset: Dataset, spec: DataSpec) -> None:
    """Notes where kinds of scores disagree. Raises `DataError` where pairs are left out by one of them."""
    columns = tuple(sorted({column for number in disagreeing_rows for column in dataset.named_rows.usable[number]}))
    kinds = [" and ".join(kind) for kind in score_columns(columns)]
    message = f"{', '.join(kinds[:-1])} disagree with {kinds[-1]} on which side is better ({dataset.name_rows(disagreeing_rows)})"
    if spec.min_margin is not None:
        ignore_setting = " or ".join(f"[{', '.join(kind)}]" for kind in score_columns(columns))
        raise DataError(
            f"data.min_margin: {dataset.where.partition(': ')[2]}: {message}; leave out those not to go by (data.ignore_columns: {ignore_setting})"
        )
    dataset.notes.append(message)


def _without(column: str, sides: frozenset[str], scores: frozenset[str]) -> tuple[str, ...] | None:
    """The words of a score's name but for the side it is of; None where it is no score of such a side."""
    words = words_of(column)
    other_words = tuple(word for word in words if word not in sides)
    is_score = (
        len(other_words) == len(words) - 1
        and not scores.isdisjoint(other_words)
        and set(other_words) <= scores | BESIDE
    )
    return other_words if is_score else None
