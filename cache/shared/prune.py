"""Makes room in the object store of a shared cache.

Nothing notes in the object store when a segment is read, so its age counts from when it was put, or from its last use
here. What is pruned there stays in the mirrors that have it, and no mirror uploads it again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from prefd.cache.shared.bucket_segments import BucketSegment, find_fault, list_segments
from prefd.cache.shared.cache import SharedCache
from prefd.cache.upkeep.compact import GRACE_S
from prefd.cache.upkeep.prune import SWEEP_AFTER_S
from prefd.cache.upkeep.removals import PruneLimits, PruneReport, Removed


def prune_shared(cache: SharedCache, limits: PruneLimits) -> PruneReport:
    """Makes room in the object store as `prune` does in a folder: segments put, or used here, longest ago go first.

    Unfinished uploads of a day ago go too, and what a whole segment of a day ago has replaced: neither serves anyone.
    Raises the bucket's errors; no report tells then what was removed before, which costs as little as the rest.
    """
    pruning = _Pruning(cache, PruneReport(limits.dry_run))
    segments = list_segments(cache)
    pruning.report.kept = sum(each.bytes for each in segments)
    pruning.remove_unfinished(segments)
    units = list(
        _list_units(
            cache, [segment for segment in segments if segment.committed and segment.path not in pruning.removed_paths]
        )
    )
    for unit in units:
        if len(unit) > 1 and unit[-1].age_s >= GRACE_S and _is_whole(cache, unit[-1]):
            for segment in unit[:-1]:
                pruning.remove(segment, "replaced by a compaction")
    for unit in sorted(units, key=lambda unit: -unit[-1].unused_s):
        live = unit[-1]
        too_large = limits.max_size is not None and pruning.report.kept > limits.max_size
        if limits.reference is not None and live.remote.reference == limits.reference:
            pruning.remove_unit(unit, "asked for", limits.needed)
        elif too_large or (limits.unused_for is not None and live.unused_s >= limits.unused_for):
            pruning.remove_unit(unit, "unused", limits.needed)
    return pruning.report


@dataclass
class _Pruning:
    """Removes segments from the object store, and notes each in the report."""

    cache: SharedCache
    report: PruneReport
    removed_paths: set[str] = field(default_factory=set)
    """Paths in the bucket of the segments that were removed."""

    def remove(
        self, segment: BucketSegment, reason: str, action: Callable[[BucketSegment], None] = BucketSegment.withdraw
    ) -> None:
        self.report.removed.append(
            Removed(segment.path, segment.remote.reference, segment.bytes, segment.unused_s, reason)
        )
        self.report.kept -= segment.bytes
        self.removed_paths.add(segment.path)
        if not self.report.dry_run:
            action(segment)

    def remove_unfinished(self, segments: list[BucketSegment]) -> None:
        """Removes what an earlier pruning or an upload left half done."""
        references = {each.remote.reference: each.remote for each in segments}
        pruned = {f"{each.prefix}/{name}" for each in references.values() for name in each.list_withdrawn()}
        for segment in segments:
            if segment.path in pruned:
                self.remove(segment, "pruned before, but not wholly")
            elif not segment.committed and segment.age_s >= SWEEP_AFTER_S:
                self.remove(
                    segment, "an upload that was never finished", BucketSegment.delete
                )  # a mirror that has it may finish it yet

    def remove_unit(self, unit: list[BucketSegment], reason: str, find_needed: Callable[[], Collection[str]]) -> None:
        """Removes a segment with those that it has replaced, unless its reference is needed."""
        reference = unit[-1].remote.reference
        if reference in find_needed():  # asked right before it goes
            self.report.protect(reference)
            return
        for segment in unit:
            if segment.path not in self.removed_paths:
                self.remove(segment, reason)


def _list_units(cache: SharedCache, segments: list[BucketSegment]) -> Iterator[list[BucketSegment]]:
    """Groups each segment that readers use, as the last, with those that it has replaced: they would come back."""
    replaces = dict(zip((each.path for each in segments), cache.bucket.run_together(BucketSegment.replaces, segments)))
    by_path = {each.path: each for each in segments}
    replaced_paths = {
        each.path: [f"{each.remote.prefix}/{name}" for name in replaces[each.path] if name != each.name]
        for each in segments
    }
    hidden = {path for paths in replaced_paths.values() for path in paths}
    for each in segments:
        if each.path not in hidden:
            yield [*(by_path[path] for path in replaced_paths[each.path] if path in by_path), each]


def _is_whole(cache: SharedCache, segment: BucketSegment) -> bool:
    """Fetches a segment to see whether it is whole: those that it has replaced are the only other copy."""
    return find_fault(cache, segment) is None
