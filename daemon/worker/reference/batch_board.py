"""BatchBoard holds the batches that nobody has scored yet: every rank takes the next one from it as soon as it has done its last."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from prefd.daemon.worker.reference.scoring_batches import Batch, halve_batch

LOW = 4
"""So many tasks for each rank last for as long as the first one computes a batch of its own, and cannot put more on the board."""


@dataclass(frozen=True)
class ScoringTask:
    """ScoringTask is a batch to score; `deaths`: how many ranks have died of it, or of what it was a part of, if the one that has it does."""

    batch: Batch
    deaths: int = 0


class BatchBoard:
    """BatchBoard gives the batches out, among `ranks` processes; the last ones in halves, so that all end at about the same time."""

    def __init__(self, ranks: int) -> None:
        self._ranks = ranks
        self._tasks: deque[ScoringTask] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def add(self, batches: Sequence[Batch]) -> None:
        """Put batches behind those that are there."""
        with self._changed:
            self._tasks.extend(map(ScoringTask, batches))
            self._changed.notify_all()

    @property
    def is_low(self) -> bool:
        """Return whether so few tasks are left that the last of them will soon be given out in halves."""
        return len(self._tasks) < LOW * self._ranks

    def give_back(self, task: ScoringTask) -> None:
        """Put a task at the front again, which the rank that took it has not done."""
        with self._changed:
            self._tasks.appendleft(task)
            self._changed.notify_all()

    def take(self) -> ScoringTask | None:
        """Take the next task; None where there is none now."""
        with self._changed:
            return self._take()

    def wait(self) -> ScoringTask | None:
        """Wait for a task, and take it; None when the board is closed."""
        with self._changed:
            while not self._closed:
                if (task := self._take()) is not None:
                    return task
                self._changed.wait()
            return None

    def close(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._closed = True
            self._tasks.clear()
            self._changed.notify_all()

    def _take(self) -> ScoringTask | None:
        if not self._tasks:
            return None
        task = self._tasks.popleft()
        if len(self._tasks) < self._ranks and (halves := halve_batch(task.batch)) is not None:
            task, rest = (ScoringTask(half, task.deaths) for half in halves)
            self._tasks.append(rest)
            self._changed.notify_all()
        return task
