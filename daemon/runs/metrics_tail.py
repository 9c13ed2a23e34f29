"""MetricsTail reads a run's metrics.jsonl from one line on, while it grows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from prefd.daemon.machine.growing_file import GrowingFile
from prefd.daemon.runs.run_folder import RunDir, parse_row

METRICS_BYTES = 65_536
"""The most bytes of a job's metrics that are read at a time: a client's share of memory."""


class MetricsTail:
    """Reads a run's metrics behind `last_line`; it finds its place again when the file was replaced or cut."""

    def __init__(self, run: RunDir, last_line: int = 0) -> None:
        self.last_line = last_line
        self._file = GrowingFile(run.metrics, self._forget, METRICS_BYTES)
        self._forget()

    def _forget(self) -> None:
        self._line_count = 0
        """The number of complete lines that were read."""

    def take(self) -> list[tuple[int, dict[str, Any]]]:
        """Return the next complete lines (numbered from 1), at most METRICS_BYTES; a broken one is passed over."""
        rows: list[tuple[int, dict[str, Any]]] = []
        before = -1
        while not rows and before != self._line_count:
            before = self._line_count
            for line in self._read_lines():
                if self._line_count > self.last_line:
                    self.last_line = self._line_count
                    if (values := parse_row(line)) is not None:
                        rows.append((self._line_count, values))
        return rows

    def skip_all(self) -> int:
        """Go behind the last complete line, and return the number of lines."""
        while list(self._read_lines()):
            pass
        self.last_line = self._line_count
        return self.last_line

    def _read_lines(self) -> Iterator[bytes]:
        with closing(self._file.read_additions()) as blocks:
            lines = next(blocks, b"")
        for line in lines.splitlines(keepends=True):
            self._line_count += 1
            yield line
