"""KeptColumns keeps the columns of the runs that were asked for last, within a bound of memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefd.daemon.machine.growing_file import BLOCK
from prefd.daemon.machine.memory import return_free_memory
from prefd.daemon.page.series.run_columns import RunColumns

MAX_BYTES = 24 * 2**20
"""Two runs of 100,000 steps. A longer one is kept too, and alone."""
SMALL_BYTES = 2**20
"""Not worth giving back to the system."""


class KeptColumns:
    """KeptColumns has one reader for each file, and drops those that nobody has asked for longest."""

    def __init__(self, max_bytes: int = MAX_BYTES, block: int = BLOCK) -> None:
        self.max_bytes = max_bytes
        self.block = block
        """The bytes of a file that are read at a time."""
        self._kept: OrderedDict[Path, RunColumns] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    @contextmanager
    def reading(self, path: Path) -> Iterator[RunColumns]:
        """Give the columns of a file as it is now; no other thread reads it until the end of the block."""
        with self._lock:
            run = self._kept.setdefault(path, RunColumns(path, self.block))
            self._kept.move_to_end(path)
        with run.reading():
            yield run
        self._drop()

    def _drop(self) -> None:
        """Drop the runs that were asked for longest ago until the others fit the bound."""
        dropped = 0
        with self._lock:
            total = sum(run.size for run in self._kept.values())
            while len(self._kept) > 1 and total > self.max_bytes:
                _, run = self._kept.popitem(last=False)
                dropped += run.size
                total -= run.size
                del run
        if dropped > SMALL_BYTES:
            return_free_memory()
