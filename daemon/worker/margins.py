"""Scores beside the two sides: how far the chosen answer is ahead, and where the scores say otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from prefd.plugins.formats.answers import number
from prefd.plugins.formats.names import ANSWERS, BETTER, WORSE, words_of
from prefd.plugins.types import Pair

SCORES = frozenset(["score", "scores", "rating", "reward", "grade"])
BESIDE = ANSWERS | {"avg", "average", "mean", "overall", "rm", "model"}


def with_margin(pair: Pair, row: Mapping[str, Any]) -> tuple[Pair, frozenset[str]]:
    """`pair` with the difference of the row's scores, and their columns; as it is where the row has none."""
    columns = score_columns(tuple(sorted(row)))
    if pair.margin is not None or columns is None:
        return pair, frozenset()
    chosen, rejected = (number(row[column]) for column in columns)
    if chosen is None or rejected is None:
        return pair, frozenset(columns)
    return replace(pair, margin=chosen - rejected), frozenset(columns)


@lru_cache(maxsize=1024)
def score_columns(columns: tuple[str, ...]) -> tuple[str, str] | None:
    """The columns of both sides' scores, as `score_chosen` and `score_rejected`; None where there are not two."""
    chosen = {key: column for column in columns if (key := _without(column, BETTER)) is not None}
    rejected = {key: column for column in columns if (key := _without(column, WORSE)) is not None}
    shared = sorted(chosen.keys() & rejected.keys(), key=lambda key: (len(key), key))
    return (chosen[shared[0]], rejected[shared[0]]) if shared else None


def _without(column: str, sides: frozenset[str]) -> tuple[str, ...] | None:
    """The words of a score's name but for the side it is of; None where it is no score of such a side."""
    words = words_of(column)
    rest = tuple(word for word in words if word not in sides)
    is_score = len(rest) == len(words) - 1 and not SCORES.isdisjoint(rest) and set(rest) <= SCORES | BESIDE
    return rest if is_score else None
