"""A run's metrics.jsonl read from one line on, as it grows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from prefd.daemon.runs.run_folder import RunDir, parse_row

METRICS_BYTES = 65_536
"""So much is read at a time of each job's metrics: a client's share of memory."""


class MetricsTail:
    """A run's metrics.jsonl from one line on. The place is kept, and found again when the file was replaced or cut."""

    def __init__(self, run: RunDir, told: int = 0) -> None:
        self.run = run
        self.told = told
        self._inode = 0
        self._offset = 0
        self._line = 0
        """Whole lines before `_offset`."""

    def take(self) -> list[tuple[int, dict[str, Any]]]:
        """The next lines (numbered from 1) that are whole, METRICS_BYTES of them at most; a broken one is passed over."""
        found: list[tuple[int, dict[str, Any]]] = []
        before = -1
        while not found and before != self._line:
            before = self._line
            for line in self._lines():
                if self._line > self.told:
                    self.told = self._line
                    if (values := parse_row(line)) is not None:
                        found.append((self._line, values))
        return found

    def skip_all(self) -> int:
        """Go behind the last line there is; how many there are."""
        while list(self._lines()):
            pass
        self.told = self._line
        return self.told

    def _lines(self) -> Iterator[bytes]:
        try:
            with self.run.metrics.open("rb") as file:
                self._find(file)
                text = file.read(METRICS_BYTES)
        except OSError:  # not there yet, or set aside at this moment
            return
        whole = text[: text.rfind(b"\n") + 1]
        for line in whole.splitlines(keepends=True):
            self._offset += len(line)
            self._line += 1
            yield line

    def _find(self, file: BinaryIO) -> None:
        """Seek to the place; a file that is another one, or shorter, is counted from its start."""
        info = os.fstat(file.fileno())
        if info.st_ino != self._inode or info.st_size < self._offset:
            self._inode, self._offset, self._line = info.st_ino, 0, 0
        file.seek(self._offset)
