"""Margins in bins of a round width."""

from __future__ import annotations

import numpy as np
import pytest

from prefd.daemon.worker.histogram import bin_margins


def test_margins_are_binned_from_zero_in_round_widths() -> None:
    histogram = bin_margins(np.array([-0.31, 0.0, 0.9, np.nan]), np.array([-0.01]))
    assert (histogram.start, histogram.width) == (pytest.approx(-0.35), 0.05)
    assert sum(histogram.train) == 3
    negative = round(-histogram.start / histogram.width)
    assert sum(histogram.train[:negative]) == sum(histogram.held_out[:negative]) == 1
    assert bin_margins(np.zeros(2), np.empty(0)).train == [2]
