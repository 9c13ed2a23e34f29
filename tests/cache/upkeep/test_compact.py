"""Compaction: the same values for every reader at every moment, fewer segments in the end."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from prefd.cache.reference import Reference
from prefd.cache.segments.layout import chunk_path
from prefd.cache.store import ReferenceCache
from prefd.cache.upkeep import compact as module
from prefd.cache.upkeep.compact import CompactReport, compact, delete_replaced
from prefd.cache.upkeep.stored_reference import StoredReference, whole_references
from prefd.cache.upkeep.verify import verify
from support.cache_entries import FINGERPRINT, Entries, entries, flip

DAY = 86_400.0


@pytest.fixture
def cache(tmp_path: Path) -> ReferenceCache:
    return ReferenceCache.open(tmp_path / "cache")


@pytest.fixture
def reference(cache: ReferenceCache) -> Reference:
    return cache.reference(FINGERPRINT)


@pytest.fixture
def stored(cache: ReferenceCache, reference: Reference) -> StoredReference:
    (stored_reference,) = whole_references(cache)
    return stored_reference


def fill(reference: Reference, segments: int = 4) -> Entries:
    """Segments of 20 entries each; returns all of them."""
    values: Entries = {}
    for seed in range(segments):
        reference.put(entries(seed=seed))
        values |= entries(seed=seed)
    return values


def age(stored: StoredReference, seconds: float = 2 * DAY) -> None:
    """Let every segment have been written so long ago."""
    for path in stored.segments.glob("*/zarr.json"):
        os.utime(path, (time.time() - seconds,) * 2)


def assert_serves(reference: Reference, values: Entries) -> None:
    for actual, value in zip(reference.get(list(values)), values.values()):
        np.testing.assert_array_equal(actual, value)


def test_readers_get_the_same_values_before_during_and_after(
    cache: ReferenceCache, reference: Reference, stored: StoredReference
) -> None:
    values = fill(reference)
    before, refreshed = cache.reference(FINGERPRINT), cache.reference(FINGERPRINT)
    inputs = stored.segment_names()
    (merge,) = compact(stored).merges
    assert (merge.inputs, merge.entries, merge.dropped) == (tuple(inputs), 80, 0)
    refreshed.refresh()
    assert [segment.id for segment in refreshed.segments] == [merge.segment]
    for reader in (before, refreshed, cache.reference(FINGERPRINT)):
        assert_serves(reader, values)
    assert len(stored.segment_names()) == 5, "the inputs stay for a while"
    age(stored)
    assert {each.segment for each in compact(stored).deleted} == set(inputs)
    assert stored.segment_names() == [merge.segment]
    for reader in (before, refreshed, cache.reference(FINGERPRINT)):
        assert_serves(reader, values)
    assert verify(cache, deep=True).ok
    assert not list(stored.staging.iterdir())
    assert compact(stored) == CompactReport()


def test_large_segments_are_left_alone_and_groups_are_of_the_target_size(
    reference: Reference, stored: StoredReference
) -> None:
    fill(reference, 6)
    size = reference.segments[0].bytes
    merges = compact(stored, target_bytes=int(size * 2.5)).merges
    assert [len(each.inputs) for each in merges] == [3, 3]
    assert compact(stored, target_bytes=int(size * 2.5)).merges == ()


def test_every_key_keeps_the_value_it_had(cache: ReferenceCache, reference: Reference, stored: StoredReference) -> None:
    """The lowest id wins, also between what is merged and what is not."""
    one, two, three = b"1" * 32, b"2" * 32, b"3" * 32
    big = entries(200, seed=9)
    first: Entries = {one: np.float32([-1.0])}
    reference.put(first)
    reference.put(big | {one: np.float32([-1.5]), two: np.float32([-2.0])})  # too large to be merged
    reference.put({two: np.float32([-2.5]), three: np.float32([-3.0])})
    expected = first | big | {two: np.float32([-2.0]), three: np.float32([-3.0])}
    assert_serves(reference, expected)
    report = compact(stored, target_bytes=reference.segments[1].bytes)
    (merge,) = report.merges
    assert (merge.entries, merge.dropped) == (2, 1)
    assert {each.key for each in report.disagreements} == {one, two}
    age(stored)
    compact(stored)
    for reader in (reference, cache.reference(FINGERPRINT)):
        reader.refresh()
        assert_serves(reader, expected)


def test_duplicates_and_damage_are_dropped(
    cache: ReferenceCache, reference: Reference, stored: StoredReference
) -> None:
    values = entries(seed=1)
    name = str(reference.put(values))
    reference.put(entries(seed=2))
    reference.put(dict(list(values.items())[:7]))
    flip(chunk_path(stored.segments / name, "logprob"), 0.0)
    (victim,) = cache.reference(FINGERPRINT).missing(list(values)) or [min(values)]
    (merge,) = compact(stored).merges
    gone = 0 if victim in list(values)[:7] else 1
    assert (merge.entries, merge.dropped) == (40 - gone, 7 + gone)
    assert len(cache.reference(FINGERPRINT).missing(list(values))) == gone


def test_a_crash_at_any_point_loses_nothing(
    cache: ReferenceCache, reference: Reference, stored: StoredReference, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = fill(reference)

    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    for where in ("write_segment", "open_segment", "publish", "discard"):
        target: object = StoredReference if where == "publish" else module
        if where == "write_segment":
            monkeypatch.setattr("prefd.cache.upkeep.stored_reference.write_segment", die)
        else:
            monkeypatch.setattr(target, where, die)
        if where == "discard":
            monkeypatch.undo()
            compact(stored)
            age(stored)
            monkeypatch.setattr(module, "discard", die)
        with pytest.raises(Killed):
            compact(stored)
        monkeypatch.undo()
        assert_serves(cache.reference(FINGERPRINT), values)
        assert verify(cache, deep=True).ok
    compact(stored)
    assert len(stored.segment_names()) == 1
    assert_serves(cache.reference(FINGERPRINT), values)


def test_two_at_once_are_harmless(
    cache: ReferenceCache, reference: Reference, stored: StoredReference, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = fill(reference)
    publish = StoredReference.publish

    def other_first(self: StoredReference, new_folder: Path) -> None:
        monkeypatch.undo()
        compact(stored)
        publish(self, new_folder)

    monkeypatch.setattr(StoredReference, "publish", other_first)
    compact(stored)
    assert_serves(cache.reference(FINGERPRINT), values)
    assert len(stored.segment_names()) == 6
    age(stored)
    compact(stored)
    assert len(stored.segment_names()) == 1
    assert_serves(cache.reference(FINGERPRINT), values)
    assert verify(cache, deep=True).ok


def test_inputs_stay_while_what_replaces_them_is_young_or_damaged(
    cache: ReferenceCache, reference: Reference, stored: StoredReference
) -> None:
    values = fill(reference)
    (merge,) = compact(stored).merges
    assert delete_replaced(stored, DAY) == []
    age(stored)
    assert len(delete_replaced(stored, DAY, dry_run=True)) == 4
    flip(chunk_path(stored.segments / str(merge.segment), "logprob"))
    assert delete_replaced(stored, DAY) == [], "the only other copy"
    (stored.segments / str(merge.segment) / "zarr.json").write_text("{")
    assert_serves(cache.reference(FINGERPRINT), values)


def test_what_an_input_had_replaced_does_not_come_back(reference: Reference, stored: StoredReference) -> None:
    fill(reference, 2)
    (first,) = compact(stored).merges
    reference.put(entries(seed=7))
    (second,) = compact(stored).merges
    assert set(stored.segment(str(second.segment)).replaces) > {str(first.segment), *first.inputs}
    age(stored)
    assert len(delete_replaced(stored)) == 4
    assert stored.segment_names() == [second.segment]


def test_a_merge_is_acknowledged_after_the_drive_has_it(
    reference: Reference, stored: StoredReference, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(2):
        reference.put(entries(seed=seed))
    emptied: list[int] = []
    monkeypatch.setattr("prefd.cache.segments.durable.EMPTY_DRIVE_CACHE", -1)
    monkeypatch.setattr("fcntl.fcntl", lambda descriptor, _: emptied.append(os.fstat(descriptor).st_ino))
    compact(stored)
    assert emptied == [stored.segments.stat().st_ino]


def test_a_dry_run_changes_nothing(reference: Reference, stored: StoredReference) -> None:
    fill(reference)
    names = stored.segment_names()
    (merge,) = compact(stored, dry_run=True).merges
    assert (merge.segment, merge.entries, len(merge.inputs)) == (None, 80, 4)
    assert stored.segment_names() == names


@pytest.mark.slow
def test_writers_compactors_and_a_reader_at_once(cache: ReferenceCache, reference: Reference) -> None:
    """With no grace at all. What was acknowledged is served, by one reader throughout and by everyone in the end."""
    stop = threading.Event()
    acknowledged: Entries = {}

    def write(seed: int) -> None:
        writer = ReferenceCache.open(cache.path).reference(FINGERPRINT)
        while not stop.is_set():
            values = entries(seed=seed)
            writer.put(values)
            acknowledged.update(values)
            seed += 2

    def merge() -> int:
        merged = 0
        while not stop.is_set():
            for each in whole_references(cache):
                merged += len(compact(each, target_bytes=30_000, grace_s=0).merges)
        return merged

    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(write, 0), pool.submit(write, 1), pool.submit(merge), pool.submit(merge)]
        try:
            until = time.monotonic() + 2
            while time.monotonic() < until and not any(each.done() for each in working):
                sample = dict(list(acknowledged.items())[-200:])
                assert reference.missing(list(sample)) == []
                assert_serves(reference, sample)
        finally:
            stop.set()
    assert sum(each.result() or 0 for each in working) > 0
    assert_serves(cache.reference(FINGERPRINT), acknowledged)
    assert verify(cache, deep=True).ok
