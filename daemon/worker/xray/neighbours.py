"""Ranks each pair's margin by the reference among the pairs whose answers differ in length as its own do.

A longer answer has a lower log-probability whatever it says, so margins of pairs with other lengths cannot be compared. Among
neighbours in length, a margin far below the others' says that the reference finds this pair's rejected answer remarkably likely.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prefd.daemon.worker.xray.pair_features import Floats, PairFeatures

NEIGHBOURS = 50
TO_DEVIATION = 1.4826
"""What makes the median of absolute deviations a standard deviation, of a normal distribution."""


@dataclass(frozen=True)
class Ranks:
    """Ranks holds, for each pair, where its margin lies among those of its neighbours; 0 and NaN where it is not scored."""

    rank: npt.NDArray[np.int64]
    """(n,) 1: the lowest margin of all of them."""
    of: npt.NDArray[np.int64]
    """(n,) How many neighbours, itself included."""
    deviation: Floats
    """(n,) How many standard deviations the margin lies above the neighbours' median."""


def rank_margins(pairs: PairFeatures) -> Ranks:
    """Rank the margin of each scored pair among its nearest neighbours by difference in length."""
    scored = np.flatnonzero(pairs.is_scored)
    total = len(pairs.examples)
    ranks = Ranks(np.zeros(total, np.int64), np.zeros(total, np.int64), np.full(total, np.nan))
    difference = (pairs.lengths[:, 0] - pairs.lengths[:, 1])[scored]
    order = scored[np.argsort(difference, kind="stable")]
    margins = pairs.margin[order]
    width = min(NEIGHBOURS, len(order))
    for place, index in enumerate(order):
        start = min(max(place - width // 2, 0), len(order) - width)
        near = margins[start : start + width]
        middle = np.median(near)
        spread = TO_DEVIATION * np.median(np.abs(near - middle))
        ranks.rank[index] = 1 + int((near < margins[place]).sum())
        ranks.of[index] = width
        ranks.deviation[index] = (margins[place] - middle) / spread if spread > 0 else 0.0
    return ranks
