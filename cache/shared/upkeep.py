"""Looking after the object store of a shared cache: `prune_shared` makes room there, `verify_shared` checks every byte.

Nobody notes in the object store when a segment is read, so its age counts from when it was put, or from its last use
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
from prefd.cache.upkeep.prune import SWEEP_AFTER_S, PruneReport, Removed, nothing
from prefd.cache.upkeep.stored_reference import FINGERPRINT, age_of
from prefd.cache.upkeep.verify import Damage

NO_DOCUMENT: tuple[type[Exception], ...] = (ValueError, KeyError, TypeError)


@dataclass
class Held:
    """One segment folder of the object store."""

    segments: SharedSegments
    name: str
    here: Path
    """Where the mirror has it, if it does."""
    objects: dict[str, StoredObject] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"{self.segments.prefix}/{self.name}"

    @property
    def committed(self) -> bool:
        return COMMIT in self.objects

    @property
    def bytes(self) -> int:
        return sum(each.bytes for each in self.objects.values())

    @property
    def age_s(self) -> float:
        """Since the last of it was put."""
        return max(0.0, time.time() - max(each.put_at for each in self.objects.values()))

    @property
    def unused_s(self) -> float:
        return min(self.age_s, age_of(self.here)) if self.here.exists() else self.age_s

    def withdraw(self) -> None:
        self.segments.withdraw(self.name, self.objects)

    def delete(self) -> None:
        self.segments.delete(self.name, self.objects)

    def replaces(self) -> list[str]:
        """None for one that cannot be read: it replaces nothing then."""
        unreadable = (*self.segments.bucket.gone, *NO_DOCUMENT)
        try:
            document = self.segments.bucket.get(f"{self.path}/{COMMIT}")
            return [str(name) for name in json.loads(document)["attributes"]["replaces"]]
        except unreadable:
            return []


def held(cache: SharedCache, prefix: str = "") -> list[Held]:
    """Every segment folder of the object store, of the references whose fingerprint starts with `prefix`."""
    found: dict[str, Held] = {}
    identities = {name: "" if who is None else who.sha256 for name, who in shared_references(cache).items()}
    for name, one in cache.bucket.objects("refs").items():
        parts = name.split("/", 3)
        if len(parts) < 4 or parts[1] != "segments" or not FINGERPRINT.fullmatch(parts[0]):
            continue
        reference, _, segment, file = parts
        if not reference.startswith(prefix) or not is_id(segment):
            continue
        key = f"{reference}/{segment}"
        if key not in found:
            here = cache.path / "refs" / reference / "segments" / segment
            found[key] = Held(SharedSegments(cache.bucket, reference, identities.get(reference, "")), segment, here)
        found[key].objects[file] = one
    return [found[key] for key in sorted(found)]


def shared_references(cache: SharedCache) -> dict[str, ReferenceFingerprint | None]:
    """Every reference of the object store; None for one whose attributes cannot be read, there or here."""
    names = sorted(name for name in cache.bucket.folders("refs") if FINGERPRINT.fullmatch(name))
    return dict(zip(names, cache.bucket.together(lambda name: _who(cache, name), names)))


def _who(cache: SharedCache, reference: str) -> ReferenceFingerprint | None:
    name = f"refs/{reference}/{COMMIT}"
    reads: list[Callable[[], bytes]] = [partial(cache.bucket.get, name), (cache.path / name).read_bytes]
    unreadable = (*cache.bucket.gone, *NO_DOCUMENT)
    for read in reads:
        try:
            attributes = json.loads(read())["attributes"]
            found = ReferenceFingerprint(attributes["identity"], attributes["provenance"])
            if found.name == reference:
                return found
        except unreadable:
            continue
    return None


def prune_shared(
    cache: SharedCache,
    *,
    max_size: int | None = None,
    unused_for: float | None = None,
    reference: str | None = None,
    needed: Callable[[], Collection[str]] = nothing,
    dry_run: bool = False,
) -> PruneReport:
    """As `prune`, of the object store: the segments that were put, or used here, longest ago go first.

    Also goes what nobody can use: unfinished uploads of a day ago, and what a whole segment of a day ago has replaced.
    Raises the bucket's errors; what was removed by then is told by no report, and costs as little as the rest.
    """
    pruning = _Pruning(cache, PruneReport(dry_run))
    segments = held(cache)
    pruning.report.kept = sum(each.bytes for each in segments)
    pruning.remove_unfinished(segments)
    units = list(_units(cache, [one for one in segments if one.committed and one.path not in pruning.gone]))
    for unit in units:
        if len(unit) > 1 and unit[-1].age_s >= GRACE_S and _is_whole(cache, unit[-1]):
            for one in unit[:-1]:
                pruning.remove(one, "replaced by a compaction")
    for unit in sorted(units, key=lambda unit: -unit[-1].unused_s):
        live = unit[-1]
        too_large = max_size is not None and pruning.report.kept > max_size
        if reference is not None and live.segments.reference == reference:
            pruning.remove_unit(unit, "asked for", needed)
        elif too_large or (unused_for is not None and live.unused_s >= unused_for):
            pruning.remove_unit(unit, "unused", needed)
    return pruning.report


@dataclass
class _Pruning:
    """What has been removed from the object store so far, and what it leaves."""

    cache: SharedCache
    report: PruneReport
    gone: set[str] = field(default_factory=set)
    """Paths of the segments that were removed."""

    def remove(self, one: Held, why: str, action: Callable[[Held], None] = Held.withdraw) -> None:
        self.report.removed.append(Removed(one.path, one.segments.reference, one.bytes, one.unused_s, why))
        self.report.kept -= one.bytes
        self.gone.add(one.path)
        if not self.report.dry_run:
            action(one)

    def remove_unfinished(self, segments: list[Held]) -> None:
        """Remove what an earlier pruning or an upload left half done."""
        references = {each.segments.reference: each.segments for each in segments}
        pruned = {f"{each.prefix}/{name}" for each in references.values() for name in each.withdrawn()}
        for one in segments:
            if one.path in pruned:
                self.remove(one, "pruned before, but not wholly")
            elif not one.committed and one.age_s >= SWEEP_AFTER_S:
                self.remove(one, "an upload that was never finished", Held.delete)  # whoever has it may finish it yet

    def remove_unit(self, unit: list[Held], why: str, needed: Callable[[], Collection[str]]) -> None:
        """Remove a segment with those that it has replaced, unless its reference is needed."""
        reference = unit[-1].segments.reference
        if reference in needed():  # asked right before it goes
            if reference not in self.report.protected:
                self.report.protected.append(reference)
            return
        for one in unit:
            if one.path not in self.gone:
                self.remove(one, why)


def _units(cache: SharedCache, segments: list[Held]) -> Iterator[list[Held]]:
    """Each segment that readers use, behind those that it has replaced: they would come back without it."""
    replaces = dict(zip((each.path for each in segments), cache.bucket.together(Held.replaces, segments)))
    at = {each.path: each for each in segments}
    behind = {
        each.path: [f"{each.segments.prefix}/{name}" for name in replaces[each.path] if name != each.name]
        for each in segments
    }
    hidden = {path for paths in behind.values() for path in paths}
    for each in segments:
        if each.path not in hidden:
            yield [*(at[path] for path in behind[each.path] if path in at), each]


def _is_whole(cache: SharedCache, one: Held) -> bool:
    """By fetching all of it: what it has replaced is the only other copy."""
    return _fault(cache, one) is None


def _fault(cache: SharedCache, one: Held) -> str | None:
    if not one.segments.identity_sha256:
        return f"{cache.bucket.url}/refs/{one.segments.reference}/{COMMIT} cannot be read; a job that uses it puts it again"
    made = cache.staging / uuid.uuid4().hex
    try:
        one.segments.fetch(one.name, made)
    except DamagedSegment as error:
        return str(error)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return None


@dataclass
class SharedReport:
    segments: int = 0
    """Checked, of `segments_total`."""
    segments_total: int = 0
    bytes: int = 0
    damage: list[Damage] = field(default_factory=list)
    uploaded: list[str] = field(default_factory=list)
    """Damaged segments that the mirror had whole, and has put there again."""
    deleted: list[str] = field(default_factory=list)
    """Damaged segments that it had not: their completions are scored again, or uploaded by who has them."""


def verify_shared(
    cache: SharedCache, *, repair: bool = False, deadline: float | None = None, prefix: str = ""
) -> SharedReport:
    """Fetch every segment of the object store and check every byte of it; nothing is kept.

    With `repair` a damaged one is deleted there, and uploaded again from the mirror where that has it whole. Raises the
    bucket's errors.
    """
    work = [one for one in held(cache, prefix) if one.committed]
    report = SharedReport(segments_total=len(work))
    if deadline is not None:
        random.shuffle(work)
    for one in work:
        if deadline is not None and time.monotonic() >= deadline:
            break
        report.segments += 1
        report.bytes += one.bytes
        fault = _fault(cache, one)
        if fault is None:
            continue
        report.damage.append(Damage(one.segments.reference, one.name, fault, to_score=None))
        if repair and one.segments.identity_sha256:
            one.delete()
            (report.uploaded if _put_again(one) else report.deleted).append(one.name)
    return report


def _put_again(one: Held) -> bool:
    try:
        one.segments.upload(open_segment(one.here, one.segments.identity_sha256))
    except (DamagedSegment, FileNotFoundError):
        return False
    return True
