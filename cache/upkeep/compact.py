"""Merges many small segments into a few large ones, under the eyes of readers and writers, with no lock.

A merged segment is committed as any other and names its inputs in `replaces`; readers turn to it when they refresh, and
inputs stay for a grace period, for readers that have not. Its id sorts right behind its lowest input's: of segments that
hold the same key the lowest id wins, so every key keeps the value it had. An entry is dropped that is damaged, or whose
key a segment outside the merge wins. Two compactions at once both merge the same; the one that comes second by id wins
nothing, and is deleted as redundant.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prefd.cache.agreement import Disagreement
from prefd.cache.index import Index
from prefd.cache.segments.ids import make_id_behind
from prefd.cache.segments.segment import DamagedSegment, Segment, open_segment
from prefd.cache.upkeep.aside import age_of, discard, size_of
from prefd.cache.upkeep.rescue import is_whole
from prefd.cache.upkeep.stored_reference import StoredReference, Survey
from prefd.cache.upkeep.verify import find_disagreements

TARGET_BYTES = 128 * 2**20
GRACE_S = 24 * 3600.0
"""Longer than a training step that reads no new segment: a reader refreshes when it misses, or its process ends."""


@dataclass(frozen=True)
class Merge:
    """Merge is one new segment, and the segments that were merged into it."""

    reference: str
    segment: str | None
    """None in a dry run, or where other segments hold all of the entries."""
    inputs: tuple[str, ...]
    entries: int
    bytes: int
    """Size of the inputs."""
    dropped: int
    """How many entries were left out: damaged ones, and those whose key another segment serves."""


@dataclass(frozen=True)
class Deleted:
    """Deleted is a segment that was deleted as useless."""

    reference: str
    segment: str
    bytes: int
    why: str
    """`replaced` or `redundant`."""


@dataclass(frozen=True)
class CompactReport:
    """CompactReport says what a compaction of one reference has merged and deleted."""

    merges: tuple[Merge, ...] = ()
    deleted: tuple[Deleted, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()
    """Reported now, as the merge drops the value that is not served."""


def compact(
    reference: StoredReference, *, target_bytes: int = TARGET_BYTES, grace_s: float = GRACE_S, dry_run: bool = False
) -> CompactReport:
    """Merges segments below half of `target_bytes` up to about that size, and deletes what was replaced before.

    Raises OSError when the disk refuses; what was committed by then stays, and nothing is lost.
    """
    deleted = delete_replaced(reference, grace_s, dry_run=dry_run)
    survey = reference.survey()
    losers = _find_losers(survey.live)
    disagreements = find_disagreements(reference, survey.live)
    merges = [
        _merge_group(reference, survey, group, losers, dry_run) for group in _group_small(survey.live, target_bytes)
    ]
    return CompactReport(tuple(each for each in merges if each is not None), tuple(deleted), tuple(disagreements))


def _group_small(live: Sequence[Segment], target_bytes: int) -> Iterator[list[Segment]]:
    """Groups small segments, oldest first, each group of about `target_bytes` and two segments at least."""
    group: list[Segment] = []
    size = 0
    for segment in live:
        if segment.bytes >= target_bytes / 2:
            continue
        group.append(segment)
        size += segment.bytes
        if size >= target_bytes:
            yield group
            group, size = [], 0
    if len(group) > 1:
        yield group


def _find_losers(live: Sequence[Segment]) -> dict[str, set[int]]:
    """Finds for each segment the rows that are never served, as a lower segment has a whole entry with the same key."""
    losers: dict[str, set[int]] = {segment.id: set() for segment in live}
    for _, places in Index().with_segments(live).find_shared():
        winner = next((place for place in places if is_whole(*place)), None)
        for segment, row in places:
            if (segment, row) != winner:
                losers[segment.id].add(row)
    return losers


def _merge_group(
    reference: StoredReference, survey: Survey, group: Sequence[Segment], losers: dict[str, set[int]], dry_run: bool
) -> Merge | None:
    """Writes one group as a segment that replaces them; None where none of its entries is served."""
    entries: dict[bytes, npt.NDArray[np.float32]] = {}
    crcs: dict[bytes, int] = {}
    for segment in group:
        for row in range(segment.entries):
            if row in losers[segment.id] or not is_whole(segment, row):
                continue
            key = segment.keys[row].tobytes()
            entries[key], crcs[key] = segment.read(row), int(segment.crcs[row])
    inputs = tuple(segment.id for segment in group)
    dropped = sum(segment.entries for segment in group) - len(entries)
    input_bytes = sum(segment.bytes for segment in group)
    if not entries or dry_run:
        return Merge(reference.name, None, inputs, len(entries), input_bytes, dropped) if entries else None
    # Segments that an input replaced, and that still exist, would come back when the input is deleted.
    replaced_ids = {segment.id for segment in survey.replaced}
    inherited = {name for segment in group for name in segment.replaces if name in replaced_ids}
    name = make_id_behind(inputs[0])
    staged = reference.stage(entries, name, (*inputs, *sorted(inherited - set(inputs))))
    try:
        _check_merged(open_segment(staged, reference.fingerprint.sha256), crcs)
        reference.publish(staged)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    return Merge(reference.name, name, inputs, len(entries), input_bytes, dropped)


def _check_merged(segment: Segment, crcs: dict[bytes, int]) -> None:
    """Checks the checksums of a merged segment, made from the values again, against those that the values had."""
    for row in range(segment.entries):
        if int(segment.crcs[row]) != crcs[segment.keys[row].tobytes()] or not is_whole(segment, row):
            raise DamagedSegment(
                f"{segment.path}: entry {row} changed while it was merged; is the memory or disk failing?"
            )


def delete_replaced(
    reference: StoredReference, older_than_s: float = GRACE_S, *, dry_run: bool = False
) -> list[Deleted]:
    """Deletes segments that no reader needs: replaced, or redundant, by whole segments older than the grace.

    Those are first checked to the last value: what is deleted here is the only other copy.
    """
    survey = reference.survey()
    settled = [segment for segment in survey.live if _measure_age(reference, segment) >= older_than_s]
    replaced_ids = {segment.id for segment in survey.replaced}
    replacing = [
        segment for segment in settled if not replaced_ids.isdisjoint(segment.replaces) and _is_all_whole(segment)
    ]
    hidden = {name for segment in replacing for name in segment.replaces}
    useless = [(segment, "replaced") for segment in survey.replaced if segment.id in hidden]
    losers = _find_losers(settled)
    useless += [(segment, "redundant") for segment in settled if len(losers[segment.id]) == segment.entries]
    deleted = []
    for segment, reason in useless:
        deleted.append(Deleted(reference.name, segment.id, size_of(segment.path), reason))
        if dry_run:
            continue
        if reason == "replaced":  # a mirror does not fetch what a segment in it stands for
            discard(segment.path, reference.staging)
        else:
            reference.remove(segment.id)
    return deleted


def _measure_age(reference: StoredReference, segment: Segment) -> float:
    """Measures the seconds since a segment was committed: readers touch its folder, never this file."""
    return age_of(reference.segments / segment.id / "zarr.json")


def _is_all_whole(segment: Segment) -> bool:
    """Says whether all log-probabilities of a segment match its checksum."""
    try:
        segment.check_logprobs()
    except DamagedSegment:
        return False
    return True
