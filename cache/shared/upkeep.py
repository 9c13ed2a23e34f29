"""Looks after the object store of a shared cache: `prune_shared` makes room there, `verify_shared` checks every byte.

Nothing notes in the object store when a segment is read, so its age counts from when it was put, or from its last use
here. What is pruned there stays in the mirrors that have it, and no mirror uploads it again. What is damaged there is
deleted so that it may be uploaded again, by whoever has it whole.
"""

from __future__ import annotations

import json
import random
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.segments.ids import is_id
from prefd.cache.segments.segment import DamagedSegment, open_segment
from prefd.cache.shared.bucket import COMMIT, StoredObject
from prefd.cache.shared.cache import SharedCache
from prefd.cache.shared.segments import SharedSegments
from prefd.cache.upkeep.compact import GRACE_S
from prefd.cache.upkeep.prune import SWEEP_AFTER_S, PruneReport, Removed, no_fingerprints
from prefd.cache.upkeep.stored_reference import FINGERPRINT, age_of
from prefd.cache.upkeep.verify import Damage

NO_DOCUMENT: tuple[type[Exception], ...] = (ValueError, KeyError, TypeError)


@dataclass
class BucketSegment:
    """One segment folder of the object store."""

    remote: SharedSegments
    """All segments that its reference has there."""
    name: str
    mirror_path: Path
    """Its folder in the mirror, if the mirror has it."""
    objects: dict[str, StoredObject] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Its place in the bucket."""
        return f"{self.remote.prefix}/{self.name}"

    @property
    def committed(self) -> bool:
        """Whether its upload was finished."""
        return COMMIT in self.objects

    @property
    def bytes(self) -> int:
        """The size of all of its objects."""
        return sum(each.bytes for each in self.objects.values())

    @property
    def age_s(self) -> float:
        """Seconds since its last object was put."""
        return max(0.0, time.time() - max(each.put_at for each in self.objects.values()))

    @property
    def unused_s(self) -> float:
        """Seconds since it was put, or was last used through the mirror."""
        return min(self.age_s, age_of(self.mirror_path)) if self.mirror_path.exists() else self.age_s

    def withdraw(self) -> None:
        """Takes it out for good: no mirror fetches or uploads it again."""
        self.remote.withdraw(self.name, self.objects)

    def delete(self) -> None:
        """Takes it out; a mirror that has it whole will upload it again."""
        self.remote.delete(self.name, self.objects)

    def replaces(self) -> list[str]:
        """Reads the ids of the segments that it replaces: none where it cannot be read, as it replaces nothing then."""
        unreadable = (*self.remote.bucket.missing_errors, *NO_DOCUMENT)
        try:
            document = self.remote.bucket.get(f"{self.path}/{COMMIT}")
            return [str(name) for name in json.loads(document)["attributes"]["replaces"]]
        except unreadable:
            return []


def list_segments(cache: SharedCache, prefix: str = "") -> list[BucketSegment]:
    """Lists every segment folder of the object store, of the references whose fingerprint starts with `prefix`."""
    segments: dict[str, BucketSegment] = {}
    identities = {
        name: "" if fingerprint is None else fingerprint.sha256
        for name, fingerprint in shared_references(cache).items()
    }
    for name, stored in cache.bucket.list_objects("refs").items():
        parts = name.split("/", 3)
        if len(parts) < 4 or parts[1] != "segments" or not FINGERPRINT.fullmatch(parts[0]):
            continue
        reference, _, segment, file = parts
        if not reference.startswith(prefix) or not is_id(segment):
            continue
        key = f"{reference}/{segment}"
        if key not in segments:
            mirror_path = cache.path / "refs" / reference / "segments" / segment
            segments[key] = BucketSegment(
                SharedSegments(cache.bucket, reference, identities.get(reference, "")), segment, mirror_path
            )
        segments[key].objects[file] = stored
    return [segments[key] for key in sorted(segments)]


def shared_references(cache: SharedCache) -> dict[str, ReferenceFingerprint | None]:
    """Lists every reference of the object store by fingerprint; None for one whose attributes cannot be read, there or here."""
    names = sorted(name for name in cache.bucket.list_folders("refs") if FINGERPRINT.fullmatch(name))
    return dict(zip(names, cache.bucket.run_together(lambda name: _read_fingerprint(cache, name), names)))


def _read_fingerprint(cache: SharedCache, reference: str) -> ReferenceFingerprint | None:
    """Reads who a reference is from its attributes in the object store, or from the mirror's; None where neither says."""
    name = f"refs/{reference}/{COMMIT}"
    reads: list[Callable[[], bytes]] = [partial(cache.bucket.get, name), (cache.path / name).read_bytes]
    unreadable = (*cache.bucket.missing_errors, *NO_DOCUMENT)
    for read_document in reads:
        try:
            attributes = json.loads(read_document())["attributes"]
            fingerprint = ReferenceFingerprint(attributes["identity"], attributes["provenance"])
            if fingerprint.name == reference:
                return fingerprint
        except unreadable:
            continue
    return None


def prune_shared(
    cache: SharedCache,
    *,
    max_size: int | None = None,
    unused_for: float | None = None,
    reference: str | None = None,
    needed: Callable[[], Collection[str]] = no_fingerprints,
    dry_run: bool = False,
) -> PruneReport:
    """Makes room in the object store as `prune` does in a folder: segments put, or used here, longest ago go first.

    Unfinished uploads of a day ago go too, and what a whole segment of a day ago has replaced: neither serves anyone.
    Raises the bucket's errors; no report tells then what was removed before, which costs as little as the rest.
    """
    pruning = _Pruning(cache, PruneReport(dry_run))
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
        too_large = max_size is not None and pruning.report.kept > max_size
        if reference is not None and live.remote.reference == reference:
            pruning.remove_unit(unit, "asked for", needed)
        elif too_large or (unused_for is not None and live.unused_s >= unused_for):
            pruning.remove_unit(unit, "unused", needed)
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

    def remove_unit(self, unit: list[BucketSegment], reason: str, needed: Callable[[], Collection[str]]) -> None:
        """Removes a segment with those that it has replaced, unless its reference is needed."""
        reference = unit[-1].remote.reference
        if reference in needed():  # asked right before it goes
            if reference not in self.report.protected:
                self.report.protected.append(reference)
            return
        for segment in unit:
            if segment.path not in self.removed_paths:
                self.remove(segment, reason)


def _list_units(cache: SharedCache, segments: list[BucketSegment]) -> Iterator[list[BucketSegment]]:
    """Groups each segment that readers use with those that it has replaced, itself last: they would come back without it."""
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
    """Whether a segment is whole, by fetching all of it: those that it has replaced are the only other copy."""
    return _find_fault(cache, segment) is None


def _find_fault(cache: SharedCache, segment: BucketSegment) -> str | None:
    """Fetches a segment and says what is wrong with it; None where it is whole."""
    if not segment.remote.identity_sha256:
        return f"{cache.bucket.url}/refs/{segment.remote.reference}/{COMMIT} cannot be read; a job that uses it puts it again"
    staged = cache.staging / uuid.uuid4().hex
    try:
        segment.remote.fetch(segment.name, staged)
    except DamagedSegment as error:
        return str(error)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return None


@dataclass
class SharedReport:
    """What `verify_shared` has found in the object store, and done about it."""

    segments: int = 0
    """How many were checked, of `segments_total`."""
    segments_total: int = 0
    bytes: int = 0
    damage: list[Damage] = field(default_factory=list)
    uploaded: list[str] = field(default_factory=list)
    """Damaged segments that the mirror had whole, and has uploaded again."""
    deleted: list[str] = field(default_factory=list)
    """Damaged segments that it had not: their completions are scored again, or uploaded by another mirror."""


def verify_shared(
    cache: SharedCache, *, repair: bool = False, deadline: float | None = None, prefix: str = ""
) -> SharedReport:
    """Fetches every segment of the object store and checks every byte of it; no copy stays here.

    With `repair` a damaged one is deleted there, and uploaded again from the mirror where that has it whole. Raises the
    bucket's errors.
    """
    segments = [segment for segment in list_segments(cache, prefix) if segment.committed]
    report = SharedReport(segments_total=len(segments))
    if deadline is not None:
        random.shuffle(segments)
    for segment in segments:
        if deadline is not None and time.monotonic() >= deadline:
            break
        report.segments += 1
        report.bytes += segment.bytes
        fault = _find_fault(cache, segment)
        if fault is None:
            continue
        report.damage.append(Damage(segment.remote.reference, segment.name, fault, to_score=None))
        if repair and segment.remote.identity_sha256:
            segment.delete()
            (report.uploaded if _upload_again(segment) else report.deleted).append(segment.name)
    return report


def _upload_again(segment: BucketSegment) -> bool:
    """Uploads a segment from the mirror, and says whether that has it whole."""
    try:
        segment.remote.upload(open_segment(segment.mirror_path, segment.remote.identity_sha256))
    except (DamagedSegment, FileNotFoundError):
        return False
    return True
