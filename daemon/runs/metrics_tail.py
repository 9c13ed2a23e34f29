"""MetricsTail reads a run's metrics.jsonl from one line on, while it grows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from prefd.daemon.runs.run_folder import RunDir, parse_row

METRICS_BYTES = 65_536
"""The most bytes of a job's metrics that are read at a time: a client's share of memory."""


class MetricsTail:
    """Reads a run's metrics behind `last_line`; it finds its place again when the file was replaced or cut."""

    def __init__(self, run: RunDir, last_line: int = 0) -> None:
        self.run = run
        self.last_line = last_line
        self._inode = 0
        self._offset = 0
        self._line_count = 0
        """The number of complete lines before `_offset`."""

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
        try:
            with self.run.metrics.open("rb") as file:
                self._seek(file)
                text = file.read(METRICS_BYTES)
        except OSError:  # not there yet, or set aside at this moment
            return
        complete = text[: text.rfind(b"\n") + 1]
        for line in complete.splitlines(keepends=True):
            self._offset += len(line)
            self._line_count += 1
            yield line

    def _seek(self, file: BinaryIO) -> None:
        """Seek to the offset; in a file that was replaced or cut, to its start."""
        info = os.fstat(file.fileno())
        if info.st_ino != self._inode or info.st_size < self._offset:
            self._inode, self._offset, self._line_count = info.st_ino, 0, 0
        file.seek(self._offset)
