"""MetricsSketch is the course of a run in a few numbers, of which only what was added since is read again.

It is for lists of jobs: of a line of training nothing but its loss is looked at, by a pattern, which is twenty times as fast as
parsing it. What it keeps does not grow with the run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prefd.daemon.machine.growing_file import BLOCK, GrowingFile
from prefd.daemon.runs.metrics_rows import MARK
from prefd.daemon.runs.run_folder import is_evaluation, parse_row

MOST_MEANS = 48
LOSS = re.compile(rb'"loss": ?(-?[0-9.eE+-]+)')


class Means:
    """Means holds at most MOST_MEANS means of equally many values each; where that is too few, two become one."""

    def __init__(self) -> None:
        self.width = 1
        """How many values a mean is of."""
        self._sums: list[float] = []
        self._last = 0
        """How many values the last sum has."""

    def __len__(self) -> int:
        return max(len(self._sums) - 1, 0) * self.width + self._last

    def extend(self, values: Iterable[float]) -> None:
        """Add values, in their order."""
        for value in values:
            if self._sums and self._last < self.width:
                self._sums[-1] += value
                self._last += 1
            else:
                if len(self._sums) == MOST_MEANS:
                    self._sums = [sum(self._sums[index : index + 2]) for index in range(0, MOST_MEANS, 2)]
                    self.width *= 2
                self._sums.append(value)
                self._last = 1

    def list(self) -> list[float]:
        """Return the means, to 6 digits; the last is of the values that there are."""
        counts = [self.width] * (len(self._sums) - 1) + [self._last]
        return [float(f"{total / count:.6g}") for total, count in zip(self._sums, counts)]


class MetricsSketch:
    """MetricsSketch is what is known of one metrics.jsonl. Used from one thread at a time."""

    def __init__(self, path: Path, block: int = BLOCK) -> None:
        self._file = GrowingFile(path, self._forget, block)
        self._forget()

    def _forget(self) -> None:
        self.losses = Means()
        self.last: dict[str, Any] | None = None
        """The newest row of training."""
        self.evaluation: dict[str, Any] | None = None
        """The newest row of an evaluation."""

    def update(self) -> None:
        """Read what was added to the file. One that was replaced or cut back is read anew; one that is gone has nothing."""
        for lines in self._file.read_additions():
            self._take(lines)

    def _take(self, lines: bytes) -> None:
        self.losses.extend(map(float, LOSS.findall(lines)))
        self.last = _find_last(lines, evaluations=False) or self.last
        if MARK in lines:
            self.evaluation = _find_last(lines, evaluations=True) or self.evaluation


def _find_last(lines: bytes, evaluations: bool) -> dict[str, Any] | None:
    """Find the last row of one kind in complete lines."""
    end = len(lines)
    while end > 0:
        begin = lines.rfind(b"\n", 0, end - 1) + 1
        line = lines[begin:end]
        if (MARK in line) == evaluations and (row := parse_row(line)) is not None and is_evaluation(row) == evaluations:
            return row
        end = begin
    return None
