"""Has a device compute micro-batches, and builds the graph of the next one meanwhile where it may.

Python takes milliseconds to build a graph, in which a GPU has nothing to do; on a CPU both need the same cores. What is computed, and
in which order, is the same either way.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx

from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.training.metrics import Sums

Batch = Sequence[Example]


@dataclass
class RunningBatches:
    """RunningBatches are the micro-batches of a step that are not computed yet, `ahead` at most when another is built.

    `finish` is called with each that is: its pairs, its metrics' sums, and the seconds that it took.
    """

    finish: Callable[[Batch, Sums, float], None]
    ahead: int = 0
    _running: deque[tuple[Batch, Sums, Any]] = field(default_factory=deque)
    _since: float = field(default_factory=time.monotonic)

    def begin(self) -> None:
        """Note that what is built from now on is another batch: what went before is none of its seconds."""
        if not self._running:
            self._since = time.monotonic()

    def start(self, batch: Batch, sums: Sums, total: Any) -> None:
        """Start to compute a batch: its sums, and the gradients' total up to it."""
        if self.ahead:
            mx.async_eval(sums, total)
        self._running.append((batch, sums, total))
        while len(self._running) > self.ahead:
            self._finish_first()

    def finish_all(self) -> None:
        """Wait until everything that was started is computed."""
        while self._running:
            self._finish_first()

    def _finish_first(self) -> None:
        batch, sums, total = self._running.popleft()
        mx.eval(sums, total)
        seconds = time.monotonic() - self._since
        self.finish(batch, sums, seconds)
        self._since = time.monotonic()  # a rest counts for nothing
