"""Removes files of a store, or sets them aside until it is settled whether a job needs them, and reports each."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prefd.cache.store import ReferenceCache
from prefd.cache.upkeep.aside import Aside, age_of, discard, set_aside, size_of
from prefd.cache.upkeep.pruned_notes import Note, Notes
from prefd.cache.upkeep.stored_reference import StoredReference


def no_fingerprints() -> Collection[str]:
    """Returns the fingerprints that jobs need where there are no jobs: none."""
    return ()


@dataclass(frozen=True)
class PruneLimits:
    """PruneLimits says how far a store is pruned; without any limit, only what serves nobody goes."""

    max_size: int | None = None
    """Segments are removed until the store is at most this large, in bytes."""
    unused_for: float | None = None
    """Segments are removed that were not used for so many seconds."""
    reference: str | None = None
    """The fingerprint of a reference all of whose segments are removed."""
    needed: Callable[[], Collection[str]] = no_fingerprints
    """Gives the fingerprints that jobs need at the time it is called: none of theirs is removed."""
    dry_run: bool = False
    """Nothing is removed, and the report says what would be."""


@dataclass(frozen=True)
class Removed:
    """Removed is a file or folder that was removed."""

    path: str
    """Relative to the store."""
    reference: str | None
    """Its fingerprint; None where it belongs to none."""
    bytes: int
    unused_s: float
    why: str


@dataclass
class PruneReport:
    """PruneReport says what a pruning has removed, what it has left, and what it could not remove."""

    dry_run: bool
    removed: list[Removed] = field(default_factory=list)
    kept: int = 0
    """Bytes that are still there."""
    protected: list[str] = field(default_factory=list)
    """Fingerprints of references that would have been pruned, and are needed by a job."""

    @property
    def freed(self) -> int:
        """Returns how many bytes were removed."""
        return sum(each.bytes for each in self.removed)

    def protect(self, reference: str) -> None:
        """Notes that a reference would have been pruned and is needed, once."""
        if reference not in self.protected:
            self.protected.append(reference)

    def to_json(self) -> dict[str, Any]:
        """Returns the report as `prefd cache prune --json` prints it."""
        return asdict(self) | {"freed": self.freed}


@dataclass(frozen=True)
class Unit:
    """Unit is a segment, with what it has replaced: removed together, as the replaced would come back otherwise."""

    reference: StoredReference
    segment: str
    paths: tuple[Path, ...]
    bytes: int
    unused_s: float


class Removals:
    """Removes files, sets segments aside, and counts how large the store is without them."""

    def __init__(self, cache: ReferenceCache, report: PruneReport, needed_names: Collection[str]) -> None:
        self.cache = cache
        self.report = report
        self.needed_names = needed_names
        self.size = size_of(cache.path)
        self.removed_paths: set[Path] = set()
        self.asides: list[tuple[Removed, Aside]] = []
        self.notes: list[tuple[StoredReference, str, Note]] = []

    def remove(self, path: Path, reference: str | None, reason: str, unused_s: float | None = None) -> None:
        """Removes what no reader looks at."""
        if self._report_if_there(path, reference, reason, unused_s) is not None and not self.report.dry_run:
            discard(path, self.cache.staging)

    def set_aside(self, path: Path, reference: str, reason: str, unused_s: float) -> None:
        """Takes out of sight what a job may need, until `settle` or `put_back`."""
        removal = self._report_if_there(path, reference, reason, unused_s)
        if removal is not None and not self.report.dry_run:
            aside = set_aside(path, self.cache.staging)
            if aside is not None:
                self.asides.append((removal, aside))

    def _report_if_there(
        self, path: Path, reference: str | None, reason: str, unused_s: float | None
    ) -> Removed | None:
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
        removal = Removed(str(path.relative_to(self.cache.path)), reference, size, unused_s, reason)
        self.report.removed.append(removal)
        return removal

    def remove_unit(self, unit: Unit, reason: str = "unused") -> None:
        """Sets a segment aside with those that it has replaced, unless its reference is needed."""
        name = unit.reference.name
        if name in self.needed_names:
            self.report.protect(name)
            return
        if not self.report.dry_run and unit.reference.mirror:
            note = Note.from_segment(unit.reference.segments / unit.segment)
            self.notes.append((unit.reference, unit.segment, note))
        for path in unit.paths:
            self.set_aside(path, name, reason, unit.unused_s)

    def settle(self, needed_names: Collection[str]) -> None:
        """Puts back what is needed by now, and deletes the rest of what was set aside."""
        for removal, aside in reversed(self.asides):
            if removal.reference in needed_names and aside.put_back():
                self.report.removed.remove(removal)
                self.size += removal.bytes
                self.report.protect(str(removal.reference))
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
