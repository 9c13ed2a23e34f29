"""Ranks that score without processes or models: each gives numbers that tell whose they are."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.ranks.frames import Array, Frame
from prefd.daemon.worker.ranks.mate import LostRank
from prefd.daemon.worker.ranks.pairs import unpack_completions
from prefd.daemon.worker.reference.scoring_batches import Batch
from prefd.daemon.worker.reference.scoring_pass import Scores

SECONDS = 20.0
"""Nothing here takes as long; what would wait for ever ends then."""


def compute(completion: Completion) -> Array:
    """What a reference gives here: a number that tells whose it is, and where in it."""
    return -np.arange(len(completion.ids) - completion.start, dtype=np.float32) - float(completion.ids[0])


class FakeMate:
    """A rank that computes here when it is asked, and dies of the batches that `is_deadly` says."""

    def __init__(
        self, rank: int, is_deadly: Callable[[Completion], bool] = lambda _: False, ready: bool = True
    ) -> None:
        self.rank = rank
        self.name = f"rank {rank} (pid 1)"
        self.is_deadly = is_deadly
        self.is_gone = False
        self.end = "died of SIGKILL"
        self.answers: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self.batches = 0
        if ready:
            self.get_ready()

    def get_ready(self) -> None:
        """Says that it has loaded the reference."""
        self.answers.put(Frame({"ready": "whole"}))

    def tell(self, head: Mapping[str, Any], arrays: Sequence[Array]) -> None:
        """Computes, or dies."""
        assert head == {"do": "score"}
        if self.is_gone:
            raise LostRank(f"{self.name} died of SIGKILL")
        completions = unpack_completions(list(arrays))
        self.batches += 1
        if any(map(self.is_deadly, completions)):
            self.answers.put(None)
        else:
            self.answers.put(Frame({"seconds": 5.0}, [np.concatenate([compute(each) for each in completions])]))

    def hear(self) -> Frame:
        """Its next answer."""
        frame = self.answers.get(timeout=SECONDS)
        if frame is None:
            raise LostRank(f"{self.name} {self.end}")
        return frame


class FakeReference:
    """The first rank's own reference; `before` is called with each batch that it scores."""

    windows = None
    runs = 1
    warning = ""

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.before = before

    def score(self, batches: Sequence[Batch]) -> Iterator[Scores]:
        """The scores of each batch."""
        self.before()
        return ({key: compute(completion) for key, completion in batch} for batch in batches)


def until(condition: Callable[[], bool]) -> Callable[[], None]:
    """What waits until the condition holds."""

    def wait() -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.001)

    return wait
