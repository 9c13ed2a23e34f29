"""Hands out the batches that are still to be scored, so that homes which share a cache do not score the same ones.

Each writer goes through them in an order of its own, looks into the cache before it takes any, and leaves for later what another
has claimed (`prefd.cache.claims`). All of it is a hint: what two score all the same is stored twice, and no number is wrong.
"""

from __future__ import annotations

import os
import platform
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Protocol

from prefd.cache.claims import Claims
from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.reference.scoring_batches import Batch, BatchSize, cut_batches
from prefd.daemon.worker.reference.scoring_pass import count_tokens
from prefd.daemon.worker.stopping import StopEvent

LEAST_PATIENCE_S = 30.0
"""For so long a writer waits, at least, for what others have claimed when nothing else is left: they commit every 15 s."""
PATIENCE = 3
"""And as many times the longest that it needed itself from taking a chunk to taking the next."""
LOOK_EVERY_S = 0.5


class Store(Protocol):
    """Store is where scores are looked up, as `prefd.cache.reference.Reference` does."""

    def missing(self, keys: Sequence[bytes]) -> list[bytes]:
        """Find those of `keys` that have to be scored."""
        ...


def order_batches(batches: Sequence[Batch], seed: str) -> list[Batch]:
    """Put `batches` in an order of the writer's own. The first, the longest, stays first: memory runs out there or nowhere."""
    rest = list(batches[1:])
    random.Random(seed).shuffle(rest)
    return [*batches[:1], *rest]


@dataclass
class UnscoredBatches:
    """UnscoredBatches holds what is still to be scored."""

    missing: InitVar[Mapping[bytes, Completion]]
    size: BatchSize
    store: Store
    claims: Claims
    chunk_tokens: int
    """Tokens that are taken at once, at most, or one batch."""
    scored_elsewhere: int = 0
    """Completions that others have scored meanwhile."""
    seed: str = field(default_factory=lambda: f"{platform.node()} {os.getpid()}")
    """Of the order in which this writer goes through the batches."""
    sleep: Callable[[float], None] = time.sleep
    least_patience: float = LEAST_PATIENCE_S
    batches: list[Batch] = field(init=False)
    _cut_tokens: int = field(init=False)
    _claimed: list[Batch] = field(default_factory=list)
    """Batches that others had claimed when they were to be taken."""
    _taken_at: float | None = None
    _longest: float = 0.0

    def __post_init__(self, missing: Mapping[bytes, Completion]) -> None:
        self._cut(missing)

    def _cut(self, completions: Mapping[bytes, Completion]) -> None:
        self._cut_tokens = self.size.max_tokens
        self.batches = order_batches(cut_batches(completions, self._cut_tokens), self.seed)

    def take(self, stop: StopEvent, before_waiting: Callable[[], None] = lambda: None) -> list[Batch]:
        """Take and claim the next batches to score; none when nothing is left, or on a `stop`.

        Where others have claimed all that is left, waits for them a while; `before_waiting` is called first.
        """
        self._note_time()
        if (chunk := self.take_free()) or not self._claimed:
            return chunk
        before_waiting()
        self._wait(stop)
        self.batches, self._claimed = self._claimed, []
        while self.batches and not stop.is_set():
            if chunk := self._filter(self._cut_chunk(), respect_claims=False):
                return self._claim(chunk)
        return []

    def take_free(self) -> list[Batch]:
        """Take and claim the next batches to score that nobody else has claimed; none where there are no such."""
        if self.size.max_tokens != self._cut_tokens:
            self._cut(dict(entry for batch in self.batches for entry in batch))
        while self.batches:
            if chunk := self._filter(self._cut_chunk(), respect_claims=True):
                self._note_time()
                return self._claim(chunk)
        return []

    def _note_time(self) -> None:
        now = time.monotonic()
        if self._taken_at is not None:
            self._longest = max(self._longest, now - self._taken_at)
        self._taken_at = now

    def _claim(self, chunk: list[Batch]) -> list[Batch]:
        self.claims.add([key for batch in chunk for key, _ in batch])
        self._taken_at = time.monotonic()
        return chunk

    def _cut_chunk(self) -> list[Batch]:
        """Cut off the next chunk, as many batches as it has room for."""
        count = 1
        while count < len(self.batches) and count_tokens(self.batches[: count + 1]) <= self.chunk_tokens:
            count += 1
        chunk, self.batches = self.batches[:count], self.batches[count:]
        return chunk

    def _filter(self, chunk: list[Batch], respect_claims: bool) -> list[Batch]:
        """Leave out what the cache has by now, and put off what others have claimed."""
        keys = [key for batch in chunk for key, _ in batch]
        missing = set(self.store.missing(keys))
        self.scored_elsewhere += len(keys) - len(missing)
        claimed = self.claims.find_claimed(missing) if respect_claims else set()
        self._claimed += _select(chunk, claimed)
        return _select(chunk, missing - claimed)

    def _wait(self, stop: StopEvent) -> None:
        """Wait until nobody has a claim on what is left, or as long as it is reasonable to."""
        deadline = time.monotonic() + max(self.least_patience, PATIENCE * self._longest)
        while self._claimed and time.monotonic() < deadline and not stop.is_set():
            waiting, self._claimed = self._claimed, []
            free = self._filter(waiting, respect_claims=True)
            if free:
                self._claimed += free
                return
            if self._claimed:
                self.sleep(LOOK_EVERY_S)


def _select(batches: Sequence[Batch], keys: set[bytes]) -> list[Batch]:
    """Select the completions of `batches` that are in `keys`, those of a batch together."""
    selected = [[(key, completion) for key, completion in batch if key in keys] for batch in batches]
    return [batch for batch in selected if batch]
