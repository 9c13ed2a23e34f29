"""`prune`: make room, least recently used first, and never what a job that waits or runs needs.

A reader leaves the time on a segment's folder (at most once an hour), so its mtime says when the segment was last used.
What serves nobody goes first: what killed writers left, quarantine, and segments that were replaced. Whatever is
removed costs time and nothing else: the next job that needs it scores it again, or fetches it, where the store is the
mirror of a shared one.

A job may be submitted meanwhile. So what may be needed is only set aside at first, and what is needed is asked again
then: a job that was there by that time gets its segments back, and one that comes later finds them missing before it
scores. There is no moment at which a job has counted on what is then deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prefd.cache.store import ReferenceCache, children
from prefd.cache.upkeep.compact import delete_replaced
from prefd.cache.upkeep.pruned_notes import Note, Notes
from prefd.cache.upkeep.stored_reference import (
    Aside,
    DamagedReference,
    StoredReference,
    age_of,
    discard,
    reference_folders,
    set_aside,
    size_of,
    whole_references,
)

SWEEP_AFTER_S = 24 * 3600.0
"""Of staging: no batch of any writer takes that long to be written."""


@dataclass(frozen=True)
class Removed:
    path: str
    """Relative to the store."""
    reference: str | None
    """Fingerprint."""
    bytes: int
    unused_s: float
    why: str


@dataclass
class PruneReport:
    dry_run: bool
    removed: list[Removed] = field(default_factory=list)
    kept: int = 0
    """Bytes that are still there."""
    protected: list[str] = field(default_factory=list)
    """Fingerprints that were asked for, or would have been next, and are needed by a job."""

    @property
    def freed(self) -> int:
        return sum(each.bytes for each in self.removed)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"freed": self.freed}


@dataclass(frozen=True)
class _Unit:
    """A segment, with what it has replaced: removed together, as the replaced would come back otherwise."""

    reference: StoredReference
    segment: str
    paths: tuple[Path, ...]
    bytes: int
    unused_s: float


def nothing() -> Collection[str]:
    return ()


def prune(
    cache: ReferenceCache,
    *,
    max_size: int | None = None,
    unused_for: float | None = None,
    reference: str | None = None,
    needed: Callable[[], Collection[str]] = nothing,
    dry_run: bool = False,
) -> PruneReport:
    """Remove segments until the store is at most `max_size` bytes; those not used for `unused_for` seconds; or all that
    the reference with the fingerprint `reference` has.

    `needed` tells the fingerprints that jobs need at the time it is called; none of their segments is removed. Raises
    OSError.
    """
    report = PruneReport(dry_run)
    room = _Room(cache, report, needed())
    try:
        _take_out(cache, room, max_size, unused_for, reference)
        needed_now = needed()
    except BaseException:
        room.put_back()
        raise
    room.settle(needed_now)
    report.kept = room.size
    return report


def _take_out(
    cache: ReferenceCache, room: _Room, max_size: int | None, unused_for: float | None, reference: str | None
) -> None:
    for path in cache.leftovers(SWEEP_AFTER_S):
        room.remove(path, None, "left by a writer that was killed")
    if reference is not None:
        _prune_reference(cache, room, reference)
    if unused_for is not None or max_size is not None:
        _prune_replaced(cache, room)
    if unused_for is not None:
        _prune_unused(cache, room, unused_for)
    if max_size is not None:
        _prune_to_size(cache, room, max_size)


def _prune_replaced(cache: ReferenceCache, room: _Room) -> None:
    for stored in whole_references(cache):
        for each in delete_replaced(stored, dry_run=room.report.dry_run):
            path = stored.segments / each.segment
            room.note(path, stored.name, each.bytes, 0.0, f"{each.why} by a compaction")


def _prune_unused(cache: ReferenceCache, room: _Room, unused_for: float) -> None:
    for path in _quarantined(cache):
        if age_of(path) >= unused_for:
            room.remove(path, path.parents[1].name, "quarantined")
    for unit in _by_use(cache, room):
        if unit.unused_s >= unused_for:
            room.remove_unit(unit)


def _prune_to_size(cache: ReferenceCache, room: _Room, max_size: int) -> None:
    for path in _quarantined(cache):
        if room.size > max_size:
            room.remove(path, path.parents[1].name, "quarantined")
    for unit in _by_use(cache, room):
        if room.size > max_size:
            room.remove_unit(unit)


class _Room:
    """How large the store is, what has been removed from it, and what has been set aside to be."""

    def __init__(self, cache: ReferenceCache, report: PruneReport, needed: Collection[str]) -> None:
        self.cache = cache
        self.report = report
        self.needed = needed
        self.size = size_of(cache.path)
        self.gone: set[Path] = set()
        self.asides: list[tuple[Removed, Aside]] = []
        self.notes: list[tuple[StoredReference, str, Note]] = []

    def remove(self, path: Path, reference: str | None, why: str, unused_s: float | None = None) -> None:
        """Remove what nobody reads."""
        if self._take_down(path, reference, why, unused_s) is not None and not self.report.dry_run:
            discard(path, self.cache.staging)

    def set_aside(self, path: Path, reference: str, why: str, unused_s: float) -> None:
        removed = self._take_down(path, reference, why, unused_s)
        if removed is not None and not self.report.dry_run:
            aside = set_aside(path, self.cache.staging)
            if aside is not None:
                self.asides.append((removed, aside))

    def _take_down(self, path: Path, reference: str | None, why: str, unused_s: float | None) -> Removed | None:
        if path in self.gone or not path.exists():
            return None
        return self.note(path, reference, size_of(path), age_of(path) if unused_s is None else unused_s, why)

    def note(self, path: Path, reference: str | None, size: int, unused_s: float, why: str) -> Removed:
        self.gone.add(path)
        self.size -= size
        removed = Removed(str(path.relative_to(self.cache.path)), reference, size, unused_s, why)
        self.report.removed.append(removed)
        return removed

    def remove_unit(self, unit: _Unit, why: str = "unused") -> None:
        name = unit.reference.name
        if name in self.needed:
            self.protect(name)
            return
        if not self.report.dry_run and unit.reference.mirror:
            note = Note.of(unit.reference.segments / unit.segment)
            self.notes.append((unit.reference, unit.segment, note))
        for path in unit.paths:
            self.set_aside(path, name, why, unit.unused_s)

    def protect(self, name: str) -> None:
        if name not in self.report.protected:
            self.report.protected.append(name)

    def settle(self, needed: Collection[str]) -> None:
        """Put back what is needed by now, and delete the rest of what was set aside."""
        for removed, aside in reversed(self.asides):
            if removed.reference in needed and aside.put_back():
                self.report.removed.remove(removed)
                self.size += removed.bytes
                self.protect(str(removed.reference))
            else:
                aside.delete()
        for reference, segment, note in self.notes:  # at last: they need room, which there may not have been before
            if not (reference.segments / segment).exists():
                self.size += Notes(reference.folder, reference.staging).leave(segment, note)

    def put_back(self) -> None:
        for _, aside in reversed(self.asides):
            if not aside.put_back():
                aside.delete()


def _prune_reference(cache: ReferenceCache, room: _Room, name: str) -> None:
    folder = cache.path / "refs" / name
    if name in room.needed:
        room.protect(name)
        return
    if cache.mirror:
        with suppress(DamagedReference):
            for unit in _units(StoredReference.open(folder, cache)):  # its notes have to stay
                room.remove_unit(unit, "asked for")
            for path in children(folder / "quarantine"):
                room.remove(path, name, "quarantined")
            return
    room.set_aside(folder, name, "asked for", _unused_s(folder))


def _unused_s(folder: Path) -> float:
    """Since any of its segments was used."""
    return min(map(age_of, children(folder / "segments")), default=age_of(folder))


def _quarantined(cache: ReferenceCache) -> Iterator[Path]:
    for folder in reference_folders(cache):
        yield from children(folder / "quarantine")


def _by_use(cache: ReferenceCache, room: _Room) -> list[_Unit]:
    """Every live and every damaged segment, the one that was not used for longest first."""
    units = [
        unit for reference in whole_references(cache) for unit in _units(reference) if unit.paths[0] not in room.gone
    ]
    return sorted(units, key=lambda unit: (-unit.unused_s, unit.segment))


def _units(reference: StoredReference) -> Iterator[_Unit]:
    survey = reference.survey()
    replaced = {segment.id for segment in survey.replaced}
    for name, before in [(each.id, each.replaces) for each in survey.live] + [(each, ()) for each in survey.damaged]:
        names = (*(other for other in before if other in replaced), name)
        paths = tuple(reference.segments / each for each in names)
        yield _Unit(reference, name, paths, sum(map(size_of, paths)), age_of(reference.segments / name))
