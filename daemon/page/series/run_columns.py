"""RunColumns reads one metrics.jsonl into columns, and when it is read again only what has been added since."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic_core import from_json

from prefd.daemon.machine.growing_file import BLOCK, GrowingFile
from prefd.daemon.page.series.columns import Columns
from prefd.daemon.runs.run_folder import is_evaluation


class RunColumns:
    """RunColumns holds the rows of one file: those of training, and those of the evaluations on the held-out pairs.

    One thread at a time reads it: two that asked together would both parse the file.
    """

    def __init__(self, path: Path, block: int = BLOCK) -> None:
        self._file = GrowingFile(path, self._forget, block)
        self._lock = threading.Lock()
        self._forget()

    @property
    def size(self) -> int:
        """Return how many bytes of memory the numbers take."""
        return self.train.size + self.eval.size

    @contextmanager
    def reading(self) -> Iterator[RunColumns]:
        """Read what was added to the file, and keep every other reader out until the end of the block."""
        with self._lock:
            for lines in self._file.read_additions():
                self._take(lines)
            yield self

    def _forget(self) -> None:
        self.train, self.eval = Columns(), Columns()

    def _take(self, lines: bytes) -> None:
        """Add complete lines; a broken one is passed over, as everywhere."""
        for line in lines.splitlines():
            try:
                row = from_json(line)  # three times as fast as json, which counts in 40 MB
            except ValueError:
                continue
            if isinstance(row, dict):
                (self.eval if is_evaluation(row) else self.train).append(row)
