"""Writers of one cache take different batches: in an order of their own, after a look, and not what another has claimed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from prefd.cache.claims import Claims
from prefd.cache.reference import Reference
from prefd.cache.store import ReferenceCache
from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.reference.scoring_batches import Batch, BatchSize, cut_batches
from prefd.daemon.worker.reference.unscored_batches import UnscoredBatches, order_batches
from support.cache_entries import FINGERPRINT
from support.mirrors import connect_mirror

NEVER = threading.Event()


def make_missing(count: int = 80) -> dict[bytes, Completion]:
    """Answers of five tokens to as many, of which four are a batch of 160 tokens."""
    return {
        bytes([number]) * 32: Completion(np.arange(number, number + 10).astype(np.uint32), 5) for number in range(count)
    }


def silent(claims: Claims) -> Claims:
    """Claims that nobody sees."""
    claims.add = lambda keys: None  # type: ignore[method-assign]
    return claims


class Writer:
    """A home that scores: its batches, and what it has scored."""

    def __init__(self, store: Reference, seed: str, claims: bool = True, chunk_tokens: int = 0) -> None:
        self.store = store
        opened = store.open_claims() if claims else silent(store.open_claims())
        self.unscored = UnscoredBatches(
            make_missing(), BatchSize(160), store, opened, chunk_tokens, seed=seed, sleep=lambda _: self.while_waiting()
        )
        self.chunk: list[Batch] = []
        self.scored: list[bytes] = []
        self.while_waiting: Callable[[], None] = lambda: None

    def begin(self) -> bool:
        self.chunk = self.unscored.take(NEVER)
        return bool(self.chunk)

    def end(self) -> None:
        keys = [key for batch in self.chunk for key, _ in batch]
        self.store.put({key: np.full(5, -1.0, np.float32) for key in keys})
        self.unscored.claims.release_keys(keys)
        self.scored += keys
        self.chunk = []


def open_stores(tmp_path: Path, kind: str) -> list[Reference]:
    if kind == "one folder":
        return [ReferenceCache.open(tmp_path / "cache").reference(FINGERPRINT) for _ in range(2)]
    return [
        connect_mirror(f"file://{tmp_path}/bucket", tmp_path / str(number)).reference(FINGERPRINT)
        for number in range(2)
    ]


@pytest.mark.parametrize("kind", ["one folder", "an object store"])
@pytest.mark.parametrize("chunk_tokens", [0, 120])
def test_two_writers_share_the_work(tmp_path: Path, kind: str, chunk_tokens: int) -> None:
    first, second = (
        Writer(store, seed, chunk_tokens=chunk_tokens) for seed, store in zip("ab", open_stores(tmp_path, kind))
    )
    first.while_waiting = second.end  # the last batch is the other's, and it is waited for
    second.while_waiting = first.end
    while first.begin() | second.begin():
        first.end()
        second.end()
    everything = sorted(make_missing())
    assert sorted(first.scored + second.scored) == everything
    assert 0.3 < len(first.scored) / len(everything) < 0.7
    assert first.unscored.scored_elsewhere == len(second.scored)
    assert first.store.missing(everything) == []
    assert second.unscored.claims.place.list_ages() == {}


def test_without_claims_they_repeat_a_fifth_at_most(tmp_path: Path) -> None:
    first, second = (
        Writer(store, seed, claims=False) for seed, store in zip("ab", open_stores(tmp_path, "one folder"))
    )
    while first.begin() | second.begin():
        first.end()
        second.end()
    assert len(first.scored) + len(second.scored) <= 1.2 * 80


def test_what_a_writer_has_claimed_that_never_comes_is_scored_in_the_end(tmp_path: Path) -> None:
    stuck, other = (Writer(store, seed) for seed, store in zip("ab", open_stores(tmp_path, "one folder")))
    other.unscored.least_patience = 0.01
    assert stuck.begin()
    waited: list[int] = []
    other.while_waiting = lambda: waited.append(1)
    flushed: list[int] = []
    while other.begin():
        other.end()
        if len(other.scored) == 76:
            other.chunk = other.unscored.take(NEVER, before_waiting=lambda: flushed.append(len(other.scored)))
            other.end()
    assert waited
    assert flushed == [76]
    assert len(other.scored) == 80


def test_a_stop_ends_the_wait(tmp_path: Path) -> None:
    stuck, other = (Writer(store, seed) for seed, store in zip("ab", open_stores(tmp_path, "one folder")))
    stuck.unscored.chunk_tokens = 10**9
    assert stuck.begin()
    stop = threading.Event()
    other.while_waiting = stop.set
    assert other.unscored.take(stop) == []
    assert stop.is_set()


def test_the_longest_batch_stays_first_and_the_rest_is_in_an_order_of_the_writers_own() -> None:
    batches = cut_batches(make_missing(), 160)
    orders = [order_batches(batches, seed) for seed in ("host 1", "host 2", "host 1")]
    assert orders[0] == orders[2] != orders[1]
    assert orders[0][0] is orders[1][0] is batches[0]
    assert {id(batch) for batch in orders[1]} == {id(batch) for batch in batches}
    assert order_batches([], "host 1") == []


def test_what_is_left_is_cut_anew_when_batches_have_become_smaller(tmp_path: Path) -> None:
    writer = Writer(open_stores(tmp_path, "one folder")[0], "a")
    sizes = []
    while writer.begin():
        sizes.append(len(writer.chunk[0]))
        writer.end()
        writer.unscored.size.max_tokens = 80 if len(sizes) > 1 else 160
    assert (sizes[:2], set(sizes[2:])) == ([4, 4], {2})
    assert sorted(writer.scored) == sorted(make_missing())
