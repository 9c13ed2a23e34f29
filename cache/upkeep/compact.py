"""`compact`: many small segments become a few large ones, under the eyes of readers and writers, with no lock.

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
from prefd.cache.segments.ids import behind
from prefd.cache.segments.segment import DamagedSegment, Segment, open_segment
from prefd.cache.upkeep.rescue import is_whole
from prefd.cache.upkeep.stored_reference import StoredReference, Survey, age_of, discard, size_of
from prefd.cache.upkeep.verify import disagreements

TARGET_BYTES = 128 * 2**20
GRACE_S = 24 * 3600.0
"""Longer than a training step that reads no new segment: a reader refreshes when it misses, or its process ends."""


@dataclass(frozen=True)
class Merge:
    """One new segment and what went into it."""

    reference: str
    segment: str | None
    """None in a dry run, or where all of the entries are held elsewhere."""
    inputs: tuple[str, ...]
    entries: int
    bytes: int
    """Of the inputs."""
    dropped: int
    """Entries whose key another segment serves, and damaged ones."""


@dataclass(frozen=True)
class Deleted:
    reference: str
    segment: str
    bytes: int
    why: str
    """`replaced` or `redundant`."""


@dataclass(frozen=True)
class CompactReport:
    merges: tuple[Merge, ...] = ()
    deleted: tuple[Deleted, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()
    """Told now, as the value that is not served is dropped."""


def compact(
    reference: StoredReference, *, target_bytes: int = TARGET_BYTES, grace_s: float = GRACE_S, dry_run: bool = False
) -> CompactReport:
    """Merge segments below half of `target_bytes` up to about that size, and delete what was replaced before.

    Raises OSError when the disk refuses; what was committed by then stays, and nothing is lost.
    """
    deleted = delete_replaced(reference, grace_s, dry_run=dry_run)
    survey = reference.survey()
    losers = _losers(survey.live)
    differing = disagreements(reference, survey.live)
    merges = [_merge(reference, survey, group, losers, dry_run) for group in _groups(survey.live, target_bytes)]
    return CompactReport(tuple(each for each in merges if each is not None), tuple(deleted), tuple(differing))


def _groups(live: Sequence[Segment], target_bytes: int) -> Iterator[list[Segment]]:
    """Runs of small segments, oldest first, each of about `target_bytes` and two segments at least."""
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


def _losers(live: Sequence[Segment]) -> dict[str, set[int]]:
    """Segment → its rows that are never served, as a lower segment has a whole entry with the same key."""
    losing: dict[str, set[int]] = {segment.id: set() for segment in live}
    for _, places in Index().extended(live).shared():
        winner = next((place for place in places if is_whole(*place)), None)
        for segment, row in places:
            if (segment, row) != winner:
                losing[segment.id].add(row)
    return losing


def _merge(
    reference: StoredReference, survey: Survey, group: Sequence[Segment], losers: dict[str, set[int]], dry_run: bool
) -> Merge | None:
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
    read = sum(segment.bytes for segment in group)
    if not entries or dry_run:
        return Merge(reference.name, None, inputs, len(entries), read, dropped) if entries else None
    # What an input replaced, and is still there, would come back when the input is deleted.
    there = {segment.id for segment in survey.replaced}
    inherited = {name for segment in group for name in segment.replaces if name in there}
    name = behind(inputs[0])
    made = reference.stage(entries, name, (*inputs, *sorted(inherited - set(inputs))))
    try:
        _check(open_segment(made, reference.fingerprint.sha256), crcs)
        reference.publish(made)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return Merge(reference.name, name, inputs, len(entries), read, dropped)


def _check(made: Segment, crcs: dict[bytes, int]) -> None:
    """The checksums were made again from the values; hold them against those the values came with."""
    for row in range(made.entries):
        if int(made.crcs[row]) != crcs[made.keys[row].tobytes()] or not is_whole(made, row):
            raise DamagedSegment(
                f"{made.path}: entry {row} changed while it was merged; is the memory or disk failing?"
            )


def delete_replaced(
    reference: StoredReference, older_than_s: float = GRACE_S, *, dry_run: bool = False
) -> list[Deleted]:
    """Delete segments that nobody needs: replaced, or redundant, by segments that are whole and older than the grace.

    Whole to the last value, which is looked at first: what is deleted here is the only other copy.
    """
    survey = reference.survey()
    settled = [segment for segment in survey.live if _written(reference, segment) >= older_than_s]
    there = {segment.id for segment in survey.replaced}
    replacing = [segment for segment in settled if not there.isdisjoint(segment.replaces) and _all_whole(segment)]
    hidden = {name for segment in replacing for name in segment.replaces}
    gone = [(segment, "replaced") for segment in survey.replaced if segment.id in hidden]
    losers = _losers(settled)
    gone += [(segment, "redundant") for segment in settled if len(losers[segment.id]) == segment.entries]
    deleted = []
    for segment, why in gone:
        deleted.append(Deleted(reference.name, segment.id, size_of(segment.path), why))
        if dry_run:
            continue
        if why == "replaced":  # a mirror does not fetch what a segment in it stands for
            discard(segment.path, reference.staging)
        else:
            reference.remove(segment.id)
    return deleted


def _written(reference: StoredReference, segment: Segment) -> float:
    """Seconds since it was committed. Readers touch the folder, never this file."""
    return age_of(reference.segments / segment.id / "zarr.json")


def _all_whole(segment: Segment) -> bool:
    try:
        segment.check_logprobs()
    except DamagedSegment:
        return False
    return True
