"""What was pruned from a mirror stays away until a job needs it, and comes back from the object store then."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prefd.cache.store import ReferenceCache
from prefd.cache.upkeep.compact import compact
from prefd.cache.upkeep.prune import prune
from prefd.cache.upkeep.removals import PruneLimits
from prefd.cache.upkeep.stored_reference import whole_references
from prefd.cache.upkeep.verify import verify
from support.cache_entries import entries
from support.mirrors import FINGERPRINT, assert_has, connect_mirror, prune_all, remote


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A folder as the object store: fast, where nothing has to go wrong on the way."""
    return f"file://{tmp_path}/store"


def test_what_was_pruned_here_stays_away_until_a_job_needs_it(url: str, tmp_path: Path) -> None:
    first, second = entries(seed=1), entries(seed=2)
    writer = connect_mirror(url, tmp_path / "a").reference(FINGERPRINT)
    writer.put(first)
    writer.put(second)
    prune_all(tmp_path / "a")
    reader = connect_mirror(url, tmp_path / "a").reference(FINGERPRINT)
    reader.refresh()
    assert not reader.segments
    assert len(reader.missing([bytes(32)])) == 1
    assert not reader.segments, "nobody asked for what they hold"
    assert_has(reader, first)
    assert [segment.entries for segment in reader.segments] == [len(first)]
    np.testing.assert_array_equal(reader.get([min(second)])[0], second[min(second)])
    assert len(reader.segments) == 2
    assert verify(connect_mirror(url, tmp_path / "a"), deep=True).strays == []


def test_a_reference_that_was_pruned_here_comes_back_by_need_too(url: str, tmp_path: Path) -> None:
    first, second = entries(seed=1), entries(seed=2)
    writer = connect_mirror(url, tmp_path / "a").reference(FINGERPRINT)
    writer.put(first)
    writer.put(second)
    prune(ReferenceCache.open(tmp_path / "a", mirror=True), PruneLimits(reference=FINGERPRINT.name))
    reader = connect_mirror(url, tmp_path / "a").reference(FINGERPRINT)
    assert not reader.segments
    assert_has(reader, second)
    assert len(reader.segments) == 1


def test_what_a_pruned_segment_had_replaced_stays_away_too(url: str, tmp_path: Path) -> None:
    values = entries(seed=1) | entries(seed=2)
    cache = connect_mirror(url, tmp_path / "a")
    for seed in (1, 2):
        cache.reference(FINGERPRINT).put(entries(seed=seed))
    for stored in whole_references(cache):
        compact(stored)
    assert len(cache.reference(FINGERPRINT).segments) == 1  # and it is uploaded
    prune_all(tmp_path / "a")
    reader = connect_mirror(url, tmp_path / "a").reference(FINGERPRINT)
    assert not reader.segments
    assert_has(reader, values)
    assert len(reader.segments) == 1, "the merged one"


def test_a_redundant_segment_that_compaction_deleted_does_not_come_back(url: str, tmp_path: Path) -> None:
    values = entries()
    cache = connect_mirror(url, tmp_path / "a")
    for _ in range(2):
        cache.reference(FINGERPRINT).put(values)
    (stored,) = whole_references(cache)
    assert [each.why for each in compact(stored, grace_s=0).deleted] == ["redundant"]
    assert len(cache.reference(FINGERPRINT).segments) == 1
    assert_has(cache.reference(FINGERPRINT), values)


@pytest.mark.parametrize("content", [b"", b"PK", b"x" * 500, None])
def test_a_damaged_note_costs_a_fetch_and_nothing_else(url: str, tmp_path: Path, content: bytes | None) -> None:
    values = entries()
    connect_mirror(url, tmp_path / "a").reference(FINGERPRINT).put(values)
    prune_all(tmp_path / "a")
    (note,) = (tmp_path / "a" / "refs" / FINGERPRINT.name / "pruned").iterdir()
    note.write_bytes(note.read_bytes()[:-30] if content is None else content)
    reader = connect_mirror(url, tmp_path / "a").reference(FINGERPRINT)
    assert len(reader.segments) == 1
    assert_has(reader, values)


def test_a_note_of_what_the_object_store_lost_leads_to_scoring(url: str, tmp_path: Path) -> None:
    values = entries()
    name = str(connect_mirror(url, tmp_path / "a").reference(FINGERPRINT).put(values))
    prune_all(tmp_path / "a")
    remote(url).withdraw(name)
    reader = connect_mirror(url, tmp_path / "a").reference(FINGERPRINT)
    assert reader.missing(list(values)) == list(values)
    reader.put(values)
    assert_has(connect_mirror(url, tmp_path / "b").reference(FINGERPRINT), values)
