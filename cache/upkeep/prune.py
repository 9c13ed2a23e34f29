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

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from prefd.cache.store import ReferenceCache, children
from prefd.cache.upkeep.aside import age_of, size_of
from prefd.cache.upkeep.compact import delete_replaced
from prefd.cache.upkeep.removals import PruneLimits, PruneReport, Removals, Unit
from prefd.cache.upkeep.stored_reference import (
    DamagedReference,
    StoredReference,
    reference_folders,
    whole_references,
)

SWEEP_AFTER_S = 24 * 3600.0
"""What is older than this in the staging folder was left behind: no writer takes that long for a batch."""


def prune(cache: ReferenceCache, limits: PruneLimits) -> PruneReport:
    """Removes segments, those first that were not used for longest, and none that a job needs. Raises OSError."""
    report = PruneReport(limits.dry_run)
    removals = Removals(cache, report, limits.needed())
    try:
        _select_and_remove(cache, removals, limits)
        needed_now = limits.needed()
    except BaseException:
        removals.put_back()
        raise
    removals.settle(needed_now)
    report.kept = removals.size
    return report


def _select_and_remove(cache: ReferenceCache, removals: Removals, limits: PruneLimits) -> None:
    """Removes or sets aside what `prune` was asked to remove."""
    for path in cache.leftovers(SWEEP_AFTER_S):
        removals.remove(path, None, "left by a writer that was killed")
    if limits.reference is not None:
        _prune_reference(cache, removals, limits.reference)
    if limits.unused_for is not None or limits.max_size is not None:
        _prune_replaced(cache, removals)
    if limits.unused_for is not None:
        _prune_unused(cache, removals, limits.unused_for)
    if limits.max_size is not None:
        _prune_to_size(cache, removals, limits.max_size)


def _prune_replaced(cache: ReferenceCache, removals: Removals) -> None:
    for stored in whole_references(cache):
        for each in delete_replaced(stored, dry_run=removals.report.dry_run):
            path = stored.segments / each.segment
            removals.report_removal(path, stored.name, each.bytes, 0.0, f"{each.why} by a compaction")


def _prune_unused(cache: ReferenceCache, removals: Removals, unused_for: float) -> None:
    for path in _list_quarantine(cache):
        if age_of(path) >= unused_for:
            removals.remove(path, path.parents[1].name, "quarantined")
    for unit in _sort_by_use(cache, removals):
        if unit.unused_s >= unused_for:
            removals.remove_unit(unit)


def _prune_to_size(cache: ReferenceCache, removals: Removals, max_size: int) -> None:
    for path in _list_quarantine(cache):
        if removals.size > max_size:
            removals.remove(path, path.parents[1].name, "quarantined")
    for unit in _sort_by_use(cache, removals):
        if removals.size > max_size:
            removals.remove_unit(unit)


def _prune_reference(cache: ReferenceCache, removals: Removals, name: str) -> None:
    folder = cache.path / "refs" / name
    if name in removals.needed_names:
        removals.report.protect(name)
        return
    if cache.mirror:
        with suppress(DamagedReference):
            for unit in _list_units(StoredReference.open(folder, cache)):  # the reference's notes have to stay
                removals.remove_unit(unit, "asked for")
            for path in children(folder / "quarantine"):
                removals.remove(path, name, "quarantined")
            return
    removals.set_aside(folder, name, "asked for", _unused_s(folder))


def _unused_s(folder: Path) -> float:
    """Measures the seconds since any segment of the reference in `folder` was used."""
    return min(map(age_of, children(folder / "segments")), default=age_of(folder))


def _list_quarantine(cache: ReferenceCache) -> Iterator[Path]:
    for folder in reference_folders(cache):
        yield from children(folder / "quarantine")


def _sort_by_use(cache: ReferenceCache, removals: Removals) -> list[Unit]:
    """Lists every live and every damaged segment, the one that was not used for longest first."""
    units = [
        unit
        for reference in whole_references(cache)
        for unit in _list_units(reference)
        if unit.paths[0] not in removals.removed_paths
    ]
    return sorted(units, key=lambda unit: (-unit.unused_s, unit.segment))


def _list_units(reference: StoredReference) -> Iterator[Unit]:
    """Lists the live and the damaged segments of one reference, each with those that it has replaced."""
    survey = reference.survey()
    replaced_ids = {segment.id for segment in survey.replaced}
    for name, replaced_names in [(each.id, each.replaces) for each in survey.live] + [
        (each, ()) for each in survey.damaged
    ]:
        names = (*(each for each in replaced_names if each in replaced_ids), name)
        paths = tuple(reference.segments / each for each in names)
        yield Unit(reference, name, paths, sum(map(size_of, paths)), age_of(reference.segments / name))
