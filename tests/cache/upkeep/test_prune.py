"""Pruning: the least recently used goes, what a job needs stays, and a dry run tells and does nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.store import ReferenceCache
from prefd.cache.upkeep.aside import age_of, size_of
from prefd.cache.upkeep.compact import compact
from prefd.cache.upkeep.prune import prune
from prefd.cache.upkeep.pruned_notes import Note, Notes
from prefd.cache.upkeep.removals import PruneLimits
from prefd.cache.upkeep.stored_reference import whole_references
from prefd.cache.upkeep.verify import repair, verify
from support.cache_entries import FINGERPRINT, entries

OTHER = ReferenceFingerprint({"weights": "other"}, {"model": "other"})
HOUR, DAY = 3600.0, 86_400.0


def used(path: Path, ago: float) -> str:
    os.utime(path, (time.time() - ago,) * 2)
    return path.name


@pytest.fixture
def cache(tmp_path: Path) -> ReferenceCache:
    """Three segments used 1, 5 and 3 days ago, and one of another reference, 9 days ago."""
    cache = ReferenceCache.open(tmp_path / "cache")
    for seed, fingerprint, days in ((1, FINGERPRINT, 1), (2, FINGERPRINT, 5), (3, FINGERPRINT, 3), (4, OTHER, 9)):
        reference = cache.reference(fingerprint)
        used(reference.folder / str(reference.put(entries(seed=seed))), days * DAY)
    return cache


def left(cache: ReferenceCache) -> list[int]:
    """The seeds of the segments that are still served."""
    pairs = [(seed, cache.peek(OTHER if seed == 4 else FINGERPRINT)) for seed in (1, 2, 3, 4)]
    return [
        seed for seed, reference in pairs if reference is not None and not reference.missing(list(entries(seed=seed)))
    ]


def test_unused_segments_go(cache: ReferenceCache) -> None:
    report = prune(cache, PruneLimits(unused_for=4 * DAY))
    assert left(cache) == [1, 3]
    assert [round(each.unused_s / DAY) for each in report.removed] == [9, 5]
    assert prune(cache, PruneLimits(unused_for=HOUR)).removed == [], "looking was using"
    assert prune(cache, PruneLimits(unused_for=4 * DAY)).removed == []
    assert verify(cache, deep=True).ok


def test_the_least_recently_used_go_until_the_size_is_met(cache: ReferenceCache) -> None:
    size = size_of(cache.path)
    dry = prune(cache, PruneLimits(max_size=size - 1, dry_run=True))
    assert size_of(cache.path) == size
    report = prune(cache, PruneLimits(max_size=size - 1))
    assert [each.path for each in report.removed] == [each.path for each in dry.removed]
    assert left(cache) == [1, 2, 3]
    assert report.kept == size - report.freed == size_of(cache.path) == dry.kept
    assert prune(cache, PruneLimits(max_size=size)).removed == []
    prune(cache, PruneLimits(max_size=0))
    assert left(cache) == []


def test_what_a_job_needs_stays(cache: ReferenceCache) -> None:
    report = prune(cache, PruneLimits(max_size=0, needed=lambda: {FINGERPRINT.name}))
    assert left(cache) == [1, 2, 3]
    assert report.protected == [FINGERPRINT.name]
    report = prune(cache, PruneLimits(reference=FINGERPRINT.name, unused_for=0, needed=lambda: {FINGERPRINT.name}))
    assert (left(cache), report.protected) == ([1, 2, 3], [FINGERPRINT.name])


def test_one_reference_goes_altogether(cache: ReferenceCache) -> None:
    report = prune(cache, PruneLimits(reference=OTHER.name))
    assert left(cache) == [1, 2, 3]
    assert [(each.path, round(each.unused_s / DAY)) for each in report.removed] == [(f"refs/{OTHER.name}", 9)]
    assert [info.fingerprint for info in cache.references()] == [FINGERPRINT.name]
    cache.reference(OTHER).put(entries(seed=4))
    assert left(cache) == [1, 2, 3, 4]


def test_a_reader_that_is_open_goes_on(cache: ReferenceCache) -> None:
    values = entries(seed=1)
    reader = cache.reference(FINGERPRINT)
    prune(cache, PruneLimits(max_size=0))
    assert len(reader.get(list(values))) == len(values)
    reader.refresh()
    assert reader.missing(list(values)) == list(values)


def test_a_segment_goes_with_what_it_replaced(cache: ReferenceCache) -> None:
    (stored,) = (each for each in whole_references(cache) if each.name == FINGERPRINT.name)
    (merge,) = compact(stored).merges
    assert len(stored.segment_names()) == 4
    used(stored.segments / str(merge.segment), 30 * DAY)
    prune(cache, PruneLimits(unused_for=20 * DAY))
    assert stored.segment_names() == []


def test_what_serves_nobody_goes_first(cache: ReferenceCache) -> None:
    reference = cache.reference(FINGERPRINT)
    (reference.segments[0].path / "zarr.json").write_text("{")
    assert [each.rescued for each in repair(cache, verify(cache).damage)] == [20]
    size = size_of(cache.path)
    (removed,) = prune(cache, PruneLimits(max_size=size - 1)).removed
    assert removed.why == "quarantined"
    assert left(cache) == [1, 2, 3, 4]


def test_old_leftovers_are_swept_and_young_ones_are_a_writers(cache: ReferenceCache) -> None:
    for name, ago in (("old", 2 * DAY), ("young", HOUR)):
        (cache.staging / name).mkdir()
        (cache.staging / name / "zarr.json").write_text("{}")
        used(cache.staging / name / "zarr.json", ago)
        used(cache.staging / name, 2 * DAY)
    (cache.staging / "file").write_text("?")
    used(cache.staging / "file", 2 * DAY)
    assert [each.path for each in prune(cache, PruneLimits()).removed] == [".tmp/file", ".tmp/old"]
    assert [path.name for path in cache.staging.iterdir()] == ["young"]
    assert left(cache) == [1, 2, 3, 4]


def test_a_clock_set_back_makes_nothing_old(cache: ReferenceCache) -> None:
    for path in cache.path.glob("refs/*/segments/*"):
        used(path, -400 * DAY)
    assert prune(cache, PruneLimits(unused_for=HOUR)).removed == []


class Submitted:
    """No job at the first look, one that needs `name` at every later one; `meanwhile` happens between the two."""

    def __init__(self, name: str, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.name = name
        self.meanwhile = meanwhile
        self.looks = 0

    def __call__(self) -> set[str]:
        self.looks += 1
        if self.looks == 1:
            return set()
        if self.looks == 2:
            self.meanwhile()
        return {self.name}


@pytest.mark.parametrize("mirror", [False, True])
def test_a_job_that_is_submitted_meanwhile_gets_its_segments_back(cache: ReferenceCache, mirror: bool) -> None:
    cache = ReferenceCache.open(cache.path, mirror=mirror)
    report = prune(cache, PruneLimits(max_size=0, needed=Submitted(FINGERPRINT.name)))
    ages = [age_of(path) / DAY for path in (cache.path / "refs" / FINGERPRINT.name / "segments").iterdir()]
    assert sorted(map(round, ages)) == [1, 3, 5], "as long unused as before"
    assert left(cache) == [1, 2, 3]
    assert report.protected == [FINGERPRINT.name]
    assert [each.reference for each in report.removed] == [OTHER.name]
    assert report.kept == size_of(cache.path)
    assert not list(cache.staging.iterdir())
    assert not list((cache.path / "refs" / FINGERPRINT.name).glob("pruned/*"))


def test_a_whole_reference_is_put_back_too(cache: ReferenceCache) -> None:
    report = prune(cache, PruneLimits(reference=FINGERPRINT.name, needed=Submitted(FINGERPRINT.name)))
    assert (left(cache), report.removed, report.protected) == ([1, 2, 3, 4], [], [FINGERPRINT.name])


def test_what_a_writer_has_put_meanwhile_is_not_overwritten(cache: ReferenceCache) -> None:
    """The job found its entries gone, and has scored them: what was set aside is of no use any more."""
    submitted = Submitted(OTHER.name, lambda: cache.reference(OTHER).put(entries(seed=4)))
    prune(cache, PruneLimits(reference=OTHER.name, needed=submitted))
    assert left(cache) == [1, 2, 3, 4]
    assert verify(cache, deep=True).ok
    assert not list(cache.staging.iterdir())


def test_what_is_set_aside_is_no_old_leftover_to_another_prune(cache: ReferenceCache) -> None:
    """Its folder was last used days ago."""
    prune(cache, PruneLimits(max_size=0, needed=Submitted(OTHER.name, lambda: prune(cache, PruneLimits()))))
    assert left(cache) == [4]


def test_an_error_or_an_interrupt_midway_puts_everything_back(
    cache: ReferenceCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune(cache, PruneLimits(max_size=0, needed=Submitted(OTHER.name, interrupt)))
    assert left(cache) == [1, 2, 3, 4]
    with monkeypatch.context() as patch:
        patch.setattr("prefd.cache.upkeep.removals.size_of", lambda path: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prune(cache, PruneLimits(max_size=0))
    assert left(cache) == [1, 2, 3, 4]


def test_a_full_disk_is_pruned_on_a_mirror_too(cache: ReferenceCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its notes need room: they are written when there is some."""
    leave = Notes.leave

    def on_a_full_disk(self: Notes, name: str, note: Note) -> int:
        if any(cache.path.glob("refs/*/segments/*")) or any(cache.staging.glob("*.deleted")):
            raise OSError(28, "No space left on device")
        return leave(self, name, note)

    monkeypatch.setattr(Notes, "leave", on_a_full_disk)
    prune(ReferenceCache.open(cache.path, mirror=True), PruneLimits(max_size=0))
    assert len(list(cache.path.glob("refs/*/pruned/*"))) == 4
