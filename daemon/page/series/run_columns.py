"""RunColumns reads one metrics.jsonl into columns, and when it is read again only what has been added since."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic_core import from_json

from prefd.daemon.page.series.columns import Columns
from prefd.daemon.runs.metrics_sketch import read_line_blocks
from prefd.daemon.runs.run_folder import is_evaluation

BLOCK = 1 << 20
"""The most bytes that are held of the file at once, unless a line is longer."""


class RunColumns:
    """RunColumns holds the rows of one file: those of training, and those of the evaluations on the held-out pairs.

    One thread at a time reads it: two that asked together would both parse the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._forget(0)

    @property
    def size(self) -> int:
        """Return how many bytes of memory the numbers take."""
        return self.train.size + self.eval.size

    @contextmanager
    def reading(self) -> Iterator[RunColumns]:
        """Read what was added to the file, and keep every other reader out until the end of the block."""
        with self._lock:
            self._read_additions()
            yield self

    def _forget(self, inode: int) -> None:
        self.train, self.eval = Columns(), Columns()
        self._inode, self._offset = inode, 0

    def _read_additions(self) -> None:
        try:
            with self.path.open("rb") as file:
                info = os.fstat(file.fileno())
                if (
                    info.st_ino != self._inode or info.st_size < self._offset
                ):  # replaced or cut: a resumed run does that
                    self._forget(info.st_ino)
                file.seek(self._offset)
                for lines in read_line_blocks(file, BLOCK):
                    self._offset += len(lines)
                    self._take(lines)
        except OSError:  # not there yet, or set aside at this moment
            self._forget(0)

    def _take(self, lines: bytes) -> None:
        """Add complete lines; a broken one is passed over, as everywhere."""
        for line in lines.splitlines():
            try:
                row = from_json(line)  # three times as fast as json, which counts in 40 MB
            except ValueError:
                continue
            if isinstance(row, dict):
                (self.eval if is_evaluation(row) else self.train).append(row)
