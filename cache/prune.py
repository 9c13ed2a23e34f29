"""`prune`: make room, least recently used first, and never what a job that waits or runs needs.

A reader leaves the time on a segment's folder (at most once an hour), so its mtime says when the segment was last used.
What serves nobody goes first: what killed writers left, quarantine, and segments that were replaced. Whatever is
removed costs time and nothing else: the next job that needs it scores it again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prefd.cache.compact import delete_replaced
from prefd.cache.store import ReferenceCache
from prefd.cache.stored import (
    StoredReference,
    age_of,
    discard,
    reference_folders,
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

    reference: str
    segment: str
    paths: tuple[Path, ...]
    bytes: int
    unused_s: float


def prune(
    cache: ReferenceCache,
    *,
    max_size: int | None = None,
    unused_for: float | None = None,
    reference: str | None = None,
    protect: Collection[str] = (),
    dry_run: bool = False,
) -> PruneReport:
    """Remove segments until the store is at most `max_size` bytes; those not used for `unused_for` seconds; or all that
    the reference with the fingerprint `reference` has.

    `protect` holds the fingerprints that jobs need; none of their segments is removed. Raises OSError.
    """
    report = PruneReport(dry_run)
    room = _Room(cache, report)
    for path in sorted(cache.staging.glob("*")):
        if age_of(path) >= SWEEP_AFTER_S:
            room.remove(path, None, "left by a writer that was killed")
    if reference is not None:
        _prune_reference(cache, room, reference, protect)
    if unused_for is not None or max_size is not None:
        for stored in whole_references(cache):
            for each in delete_replaced(stored, dry_run=dry_run):
                path = stored.segments / each.segment
                room.note(path, stored.name, each.bytes, 0.0, f"{each.why} by a compaction")
    if unused_for is not None:
        for path in _quarantined(cache):
            if age_of(path) >= unused_for:
                room.remove(path, path.parents[1].name, "quarantined")
        for unit in _by_use(cache, room):
            if unit.unused_s >= unused_for:
                room.remove_unit(unit, protect)
    if max_size is not None:
        for path in _quarantined(cache):
            if room.size > max_size:
                room.remove(path, path.parents[1].name, "quarantined")
        for unit in _by_use(cache, room):
            if room.size > max_size:
                room.remove_unit(unit, protect)
    report.kept = room.size
    return report


class _Room:
    """How large the store is, and what has been removed from it."""

    def __init__(self, cache: ReferenceCache, report: PruneReport) -> None:
        self.cache = cache
        self.report = report
        self.size = size_of(cache.path)
        self.gone: set[Path] = set()

    def remove(self, path: Path, reference: str | None, why: str, unused_s: float | None = None) -> None:
        if path in self.gone or not path.exists():
            return
        self.note(path, reference, size_of(path), age_of(path) if unused_s is None else unused_s, why)
        if not self.report.dry_run:
            discard(path, self.cache.staging)

    def note(self, path: Path, reference: str | None, size: int, unused_s: float, why: str) -> None:
        self.gone.add(path)
        self.size -= size
        shown = str(path.relative_to(self.cache.path))
        self.report.removed.append(Removed(shown, reference, size, unused_s, why))

    def remove_unit(self, unit: _Unit, protect: Collection[str]) -> None:
        if unit.reference in protect:
            if unit.reference not in self.report.protected:
                self.report.protected.append(unit.reference)
            return
        for path in unit.paths:
            self.remove(path, unit.reference, "unused", unit.unused_s)


def _prune_reference(cache: ReferenceCache, room: _Room, name: str, protect: Collection[str]) -> None:
    if name in protect:
        room.report.protected.append(name)
        return
    room.remove(cache.path / "refs" / name, name, "asked for", _unused_s(cache.path / "refs" / name))


def _unused_s(folder: Path) -> float:
    """Since any of its segments was used."""
    return min((age_of(path) for path in (folder / "segments").glob("*")), default=age_of(folder))


def _quarantined(cache: ReferenceCache) -> Iterator[Path]:
    for folder in reference_folders(cache):
        yield from sorted((folder / "quarantine").glob("*"))


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
        yield _Unit(reference.name, name, paths, sum(map(size_of, paths)), age_of(reference.segments / name))
