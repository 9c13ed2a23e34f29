"""Many threads on one view of the store, and many views of one store. Processes: test_faults_cache.py."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from faults.cache import batch, reference, value_of
from prefd.cache.reference import Reference

WRITERS, FLUSHES, ENTRIES = 4, 6, 5
EVERYTHING = [key for w in range(WRITERS) for f in range(FLUSHES) for key in batch(f"{w}/{f}", ENTRIES)]


@pytest.mark.parametrize("views", ["one view", "a view each"])
def test_threads_that_write_at_once_are_all_there(tmp_path: Path, views: str) -> None:
    shared = reference(tmp_path)
    opened = [shared if views == "one view" else reference(tmp_path) for _ in range(WRITERS)]

    def write(writer: int) -> None:
        for flush in range(FLUSHES):
            opened[writer].put(batch(f"{writer}/{flush}", ENTRIES))

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))
    for view in (*opened, reference(tmp_path)):
        assert view.missing(EVERYTHING) == []
        assert len(view.segments) == WRITERS * FLUSHES
        assert sorted(EVERYTHING) == [row.tobytes() for row in view.all_keys()]


def test_readers_never_see_less_than_before_nor_a_wrong_value(tmp_path: Path) -> None:
    writer, reader = reference(tmp_path), reference(tmp_path)
    stop = threading.Event()

    def read() -> int:
        seen = 0
        while not stop.is_set():
            reader.refresh()
            values = reader.find(EVERYTHING)
            there = [(key, value) for key, value in zip(EVERYTHING, values) if value is not None]
            assert len(there) >= seen
            for key, value in there:
                np.testing.assert_array_equal(value, value_of(key))
            seen = len(there)
        return seen

    with ThreadPoolExecutor(2) as pool:
        reading = [pool.submit(read) for _ in range(2)]
        for flush in range(FLUSHES):
            writer.put(batch(f"0/{flush}", ENTRIES))
        stop.set()
        assert all(each.result() > 0 for each in reading)


def test_readers_do_not_notice_that_segments_are_merged_and_removed(tmp_path: Path) -> None:
    store, reader = reference(tmp_path), reference(tmp_path)
    for n in range(12):
        store.put(batch(f"0/{n % FLUSHES}", ENTRIES))
    keys = [key for f in range(FLUSHES) for key in batch(f"0/{f}", ENTRIES)]
    reader.refresh()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            for key, value in zip(keys, reader.get(keys)):
                np.testing.assert_array_equal(value, value_of(key))
            assert reader.missing(keys) == []

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        for _ in range(5):
            merge(store, keys)
        stop.set()
        reading.result()
    assert len(reference(tmp_path).segments) == 1
    assert not reader.damage


def merge(store: Reference, keys: list[bytes]) -> None:
    old = [segment.path for segment in store.segments]
    store.put(dict(zip(keys, store.get(keys))), replaces=[path.name for path in old])
    for path in old:
        path.rename(store.staging / path.name)
