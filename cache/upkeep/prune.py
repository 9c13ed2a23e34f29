"""Makes room in a store: least recently used first, and never what a job that waits or runs needs.

A reader leaves the time on a segment's folder (at most once an hour), so its mtime says when the segment was last used.
What serves no reader goes first: what killed writers left, quarantine, and segments that were replaced. All that is
removed costs time and nothing else: the next job that needs it scores it again, or fetches it, where the store is the
mirror of a shared one.

A job may be submitted meanwhile. So what may be needed is only set aside at first, and the jobs are asked again then: a
job that was there by that time gets its segments back, and one that comes later finds them missing before it scores.
There is no moment at which a job has counted on what is then deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prefd.cache.store import ReferenceCache, children
from prefd.cache.upkeep.aside import Aside, age_of, discard, set_aside, size_of
from prefd.cache.upkeep.compact import delete_replaced
from prefd.cache.upkeep.pruned_notes import Note, Notes
from prefd.cache.upkeep.stored_reference import (
    DamagedReference,
    StoredReference,
    reference_folders,
    whole_references,
)

SWEEP_AFTER_S = 24 * 3600.0
"""What is older than this in the staging folder was left behind: no writer takes that long for a batch."""


@dataclass(frozen=True)
class Removed:
    """A file or folder that was removed."""

    path: str
    """Relative to the store."""
    reference: str | None
    """Its fingerprint; None where it belongs to none."""
    bytes: int
    unused_s: float
    why: str


@dataclass
class PruneReport:
    """What a pruning has removed, what it has left, and what it could not remove."""

    dry_run: bool
    removed: list[Removed] = field(default_factory=list)
    kept: int = 0
    """Bytes that are still there."""
    protected: list[str] = field(default_factory=list)
    """Fingerprints of references that would have been pruned, and are needed by a job."""

    @property
    def freed(self) -> int:
        """Bytes that were removed."""
        return sum(each.bytes for each in self.removed)

    def to_json(self) -> dict[str, Any]:
        """The report as `prefd cache prune --json` prints it."""
        return asdict(self) | {"freed": self.freed}


@dataclass(frozen=True)
class _Unit:
    """A segment, with what it has replaced: removed together, as the replaced would come back otherwise."""

    reference: StoredReference
    segment: str
    paths: tuple[Path, ...]
    bytes: int
    unused_s: float


def no_fingerprints() -> Collection[str]:
    """The fingerprints that jobs need where there are no jobs."""
    return ()


def prune(
    cache: ReferenceCache,
    *,
    max_size: int | None = None,
    unused_for: float | None = None,
    reference: str | None = None,
    needed: Callable[[], Collection[str]] = no_fingerprints,
    dry_run: bool = False,
) -> PruneReport:
    """Removes segments, those first that were not used for longest, and none that a job needs. Raises OSError.

    Args:
        cache: The store.
        max_size: Segments are removed until the store is at most this large, in bytes.
        unused_for: Segments are removed that were not used for so many seconds.
        reference: The fingerprint of a reference all of whose segments are removed.
        needed: Gives the fingerprints that jobs need at the time it is called.
        dry_run: Nothing is removed, and the report says what would be.
    """
    report = PruneReport(dry_run)
    pruning = _Pruning(cache, report, needed())
    try:
        _select_and_remove(cache, pruning, max_size, unused_for, reference)
        needed_now = needed()
    except BaseException:
        pruning.put_back()
        raise
    pruning.settle(needed_now)
    report.kept = pruning.size
    return report


def _select_and_remove(
    cache: ReferenceCache, pruning: _Pruning, max_size: int | None, unused_for: float | None, reference: str | None
) -> None:
    """Removes or sets aside what `prune` was asked to remove."""
    for path in cache.leftovers(SWEEP_AFTER_S):
        pruning.remove(path, None, "left by a writer that was killed")
    if reference is not None:
        _prune_reference(cache, pruning, reference)
    if unused_for is not None or max_size is not None:
        _prune_replaced(cache, pruning)
    if unused_for is not None:
        _prune_unused(cache, pruning, unused_for)
    if max_size is not None:
        _prune_to_size(cache, pruning, max_size)


def _prune_replaced(cache: ReferenceCache, pruning: _Pruning) -> None:
    for stored in whole_references(cache):
        for each in delete_replaced(stored, dry_run=pruning.report.dry_run):
            path = stored.segments / each.segment
            pruning.report_removal(path, stored.name, each.bytes, 0.0, f"{each.why} by a compaction")


def _prune_unused(cache: ReferenceCache, pruning: _Pruning, unused_for: float) -> None:
    for path in _list_quarantine(cache):
        if age_of(path) >= unused_for:
            pruning.remove(path, path.parents[1].name, "quarantined")
    for unit in _sort_by_use(cache, pruning):
        if unit.unused_s >= unused_for:
            pruning.remove_unit(unit)


def _prune_to_size(cache: ReferenceCache, pruning: _Pruning, max_size: int) -> None:
    for path in _list_quarantine(cache):
        if pruning.size > max_size:
            pruning.remove(path, path.parents[1].name, "quarantined")
    for unit in _sort_by_use(cache, pruning):
        if pruning.size > max_size:
            pruning.remove_unit(unit)


class _Pruning:
    """Removes files, sets segments aside, and counts how large the store is without them."""

    def __init__(self, cache: ReferenceCache, report: PruneReport, needed: Collection[str]) -> None:
        self.cache = cache
        self.report = report
        self.needed = needed
        self.size = size_of(cache.path)
        self.removed_paths: set[Path] = set()
        self.asides: list[tuple[Removed, Aside]] = []
        self.notes: list[tuple[StoredReference, str, Note]] = []

    def remove(self, path: Path, reference: str | None, reason: str, unused_s: float | None = None) -> None:
        """Removes what no reader looks at."""
        if self._note_removal(path, reference, reason, unused_s) is not None and not self.report.dry_run:
            discard(path, self.cache.staging)

    def set_aside(self, path: Path, reference: str, reason: str, unused_s: float) -> None:
        """Takes out of sight what a job may need, until `settle` or `put_back`."""
        removed = self._note_removal(path, reference, reason, unused_s)
        if removed is not None and not self.report.dry_run:
            aside = set_aside(path, self.cache.staging)
            if aside is not None:
                self.asides.append((removed, aside))

    def _note_removal(self, path: Path, reference: str | None, reason: str, unused_s: float | None) -> Removed | None:
        """Reports the removal of `path`; None where it is gone already."""
        if path in self.removed_paths or not path.exists():
            return None
        return self.report_removal(
            path, reference, size_of(path), age_of(path) if unused_s is None else unused_s, reason
        )

    def report_removal(self, path: Path, reference: str | None, size: int, unused_s: float, reason: str) -> Removed:
        """Adds a removal to the report, and subtracts its size."""
        self.removed_paths.add(path)
        self.size -= size
        removed = Removed(str(path.relative_to(self.cache.path)), reference, size, unused_s, reason)
        self.report.removed.append(removed)
        return removed

    def remove_unit(self, unit: _Unit, reason: str = "unused") -> None:
        """Sets a segment aside with those that it has replaced, unless its reference is needed."""
        name = unit.reference.name
        if name in self.needed:
            self.protect(name)
            return
        if not self.report.dry_run and unit.reference.mirror:
            note = Note.from_segment(unit.reference.segments / unit.segment)
            self.notes.append((unit.reference, unit.segment, note))
        for path in unit.paths:
            self.set_aside(path, name, reason, unit.unused_s)

    def protect(self, name: str) -> None:
        """Reports that a reference is needed, once."""
        if name not in self.report.protected:
            self.report.protected.append(name)

    def settle(self, needed: Collection[str]) -> None:
        """Puts back what is needed by now, and deletes the rest of what was set aside."""
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
        """Puts back all that was set aside."""
        for _, aside in reversed(self.asides):
            if not aside.put_back():
                aside.delete()


def _prune_reference(cache: ReferenceCache, pruning: _Pruning, name: str) -> None:
    folder = cache.path / "refs" / name
    if name in pruning.needed:
        pruning.protect(name)
        return
    if cache.mirror:
        with suppress(DamagedReference):
            for unit in _list_units(StoredReference.open(folder, cache)):  # the reference's notes have to stay
                pruning.remove_unit(unit, "asked for")
            for path in children(folder / "quarantine"):
                pruning.remove(path, name, "quarantined")
            return
    pruning.set_aside(folder, name, "asked for", _unused_s(folder))


def _unused_s(folder: Path) -> float:
    """Measures the seconds since any segment of the reference in `folder` was used."""
    return min(map(age_of, children(folder / "segments")), default=age_of(folder))


def _list_quarantine(cache: ReferenceCache) -> Iterator[Path]:
    for folder in reference_folders(cache):
        yield from children(folder / "quarantine")


def _sort_by_use(cache: ReferenceCache, pruning: _Pruning) -> list[_Unit]:
    """Lists every live and every damaged segment, the one that was not used for longest first."""
    units = [
        unit
        for reference in whole_references(cache)
        for unit in _list_units(reference)
        if unit.paths[0] not in pruning.removed_paths
    ]
    return sorted(units, key=lambda unit: (-unit.unused_s, unit.segment))


def _list_units(reference: StoredReference) -> Iterator[_Unit]:
    """Lists the live and the damaged segments of one reference, each with those that it has replaced."""
    survey = reference.survey()
    replaced_ids = {segment.id for segment in survey.replaced}
    for name, replaced_names in [(each.id, each.replaces) for each in survey.live] + [
        (each, ()) for each in survey.damaged
    ]:
        names = (*(name for name in replaced_names if name in replaced_ids), name)
        paths = tuple(reference.segments / each for each in names)
        yield _Unit(reference, name, paths, sum(map(size_of, paths)), age_of(reference.segments / name))
