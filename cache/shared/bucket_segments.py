"""Lists the segments and references that an object store holds, and checks one segment to its last byte."""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.segments.ids import is_id
from prefd.cache.segments.segment import DamagedSegment
from prefd.cache.shared.bucket import COMMIT, StoredObject
from prefd.cache.shared.cache import SharedCache
from prefd.cache.shared.segments import SharedSegments
from prefd.cache.upkeep.aside import age_of
from prefd.cache.upkeep.stored_reference import FINGERPRINT

NO_DOCUMENT: tuple[type[Exception], ...] = (ValueError, KeyError, TypeError)


@dataclass
class BucketSegment:
    """BucketSegment is one segment folder of the object store."""

    remote: SharedSegments
    """All segments that its reference has there."""
    name: str
    mirror_path: Path
    """Its folder in the mirror, if the mirror has it."""
    objects: dict[str, StoredObject] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Returns the segment's path in the bucket."""
        return f"{self.remote.prefix}/{self.name}"

    @property
    def committed(self) -> bool:
        """Says whether its upload was finished."""
        return COMMIT in self.objects

    @property
    def bytes(self) -> int:
        """Returns the size of all of the segment's objects."""
        return sum(each.bytes for each in self.objects.values())

    @property
    def age_s(self) -> float:
        """Returns the seconds since the segment's last object was put."""
        return max(0.0, time.time() - max(each.put_at for each in self.objects.values()))

    @property
    def unused_s(self) -> float:
        """Returns the seconds since the segment was put, or was last used through the mirror."""
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
    """Lists every reference of the object store by fingerprint; None for one whose attributes cannot be read."""
    names = sorted(name for name in cache.bucket.list_folders("refs") if FINGERPRINT.fullmatch(name))
    return dict(zip(names, cache.bucket.run_together(lambda name: _read_fingerprint(cache, name), names)))


def _read_fingerprint(cache: SharedCache, reference: str) -> ReferenceFingerprint | None:
    """Reads who a reference is from its attributes there, or from the mirror's; None where neither says."""
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


def find_fault(cache: SharedCache, segment: BucketSegment) -> str | None:
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
