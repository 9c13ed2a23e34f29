"""Counts margins in bins of a round width, none of which has 0 inside."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from prefd.daemon.runs.pair_answers import MarginHistogram

MOST_BINS = 40
WIDTHS = tuple(first * 10.0**power for power in range(-6, 308) for first in (1, 2, 5))


def bin_margins(train: npt.NDArray[np.float64], held_out: npt.NDArray[np.float64]) -> MarginHistogram:
    """Count the margins that are finite in bins of a round width, none of which has 0 inside."""
    train, held_out = train[np.isfinite(train)], held_out[np.isfinite(held_out)]
    both = np.concatenate([train, held_out])
    least, most = (0.0, 0.0) if not both.size else (float(both.min()), float(both.max()))
    width = next(
        (each for each in WIDTHS if math.floor(most / each) - math.floor(least / each) < MOST_BINS), WIDTHS[-1]
    )
    first, last = math.floor(least / width), math.floor(most / width)

    def count(margins: npt.NDArray[np.float64]) -> list[int]:
        bins = np.clip(np.floor(margins / width).astype(np.int64) - first, 0, last - first)
        return [int(number) for number in np.bincount(bins, minlength=last - first + 1)]

    return MarginHistogram.model_validate(
        {"from": first * width, "width": width, "train": count(train), "held_out": count(held_out)}
    )
