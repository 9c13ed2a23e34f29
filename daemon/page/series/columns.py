"""Columns holds rows of metrics.jsonl as numbers in columns: 8 bytes a number, where a row as a dictionary takes ten times that."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from typing import Any

from prefd.plugins.metrics import POSITIONS

STEP = "step"
LARGEST_STEP = 2**53
NAN = math.nan


class Columns:
    """Columns grows by a row at a time. A value that a row lacks is NaN in its column, and so is one that is not finite."""

    def __init__(self) -> None:
        self.steps = array("q")
        self.values: dict[str, array[float]] = {}
        """The columns by key, those of POSITIONS but the step included. One may be shorter than `steps`: its last rows lack it."""
        self.bad: dict[str, array[int]] = {}
        """Of each key the indices of the rows in which its value is not finite."""
        self.gaps: set[str] = set()
        """The keys whose columns hold a NaN."""

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def size(self) -> int:
        """Return how many bytes of memory the numbers take."""
        return 8 * (len(self.steps) + sum(map(len, self.values.values())) + sum(map(len, self.bad.values())))

    @property
    def keys(self) -> list[str]:
        """Return the names of the metrics, in the order in which they came."""
        return [key for key in self.values if key not in POSITIONS]

    def append(self, row: Mapping[str, Any]) -> bool:
        """Add a row, and return whether it could be placed: its step is a number from 0 on."""
        step = row.get(STEP)
        if isinstance(step, bool) or not isinstance(step, int | float) or not 0 <= step <= LARGEST_STEP:
            return False
        index = len(self.steps)
        self.steps.append(int(step))
        for key, value in row.items():
            if key != STEP and (value is None or (isinstance(value, int | float) and not isinstance(value, bool))):
                self._set(key, index, value)
        return True

    def _set(self, key: str, index: int, value: float | None) -> None:
        column = self.values.get(key)
        if column is None:
            column = self.values[key] = array("d")
        if (missing := index - len(column)) > 0:
            column.extend(array("d", [NAN]) * missing)
            self.gaps.add(key)
        try:
            number = NAN if value is None else float(value)
        except OverflowError:  # an integer beyond what a float holds
            number = math.inf
        if not math.isfinite(number):
            number = NAN
            self.gaps.add(key)
            self.bad.setdefault(key, array("q")).append(index)
        column.append(number)
