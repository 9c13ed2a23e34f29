"""A reference cache shared through an object store (`s3://bucket/prefix`), with a local folder as its mirror.

Segments never change, so sharing is copying: what others have committed is fetched and checked before it is believed,
what is new here is checked and uploaded, its `zarr.json` last and only if absent; without that file a segment is not
there. Reads are the mirror's memory maps, no slower for the sharing. Costs: the disk space of a mirror, a listing of
all objects when a reference is opened, and one of the segments' names a refresh.

What is pruned from the mirror leaves a note (`notes.py`) and is fetched back when a job asks for one of its keys. What
is taken out of the object store leaves an empty object under `pruned/` there, so that no mirror uploads it again. A
segment that is damaged here is fetched again; one that is damaged there is reported and not believed.

The store's layout is the local one, so `zarr.open_group` reads it in place. An object store that cannot be reached
stops nobody: the mirror serves, and what could not be uploaded is uploaded at a later refresh.
"""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from prefd.cache.agreement import tolerance
from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.reference import MissingEntry, Reference
from prefd.cache.segments.durable import flush, flush_tree
from prefd.cache.segments.ids import ID_LENGTH
from prefd.cache.segments.segment import DamagedSegment, Segment, open_segment
from prefd.cache.shared.bucket import COMMIT, Bucket
from prefd.cache.shared.segments import SharedSegments
from prefd.cache.store import ReferenceCache
from prefd.cache.upkeep.pruned_notes import Notes

log = logging.getLogger(__name__)

SEGMENTS_AT_ONCE = 4  # each with connections of its own


@dataclass(frozen=True)
class SharedCache(ReferenceCache):
    """A `ReferenceCache` whose references are those of `bucket` too. `path` is the mirror."""

    mirror: bool = True
    bucket: Bucket = field(kw_only=True)

    @classmethod
    def at(cls, url: str, mirror: Path, options: Mapping[str, Any] | None = None) -> SharedCache:
        """The cache at `url`, made when there is none. Raises `CannotShare`, and `NotACache` for a bad mirror."""
        shared = cls(ReferenceCache.open(mirror).path, bucket=Bucket(url, options))
        shared._offer(COMMIT)
        return shared

    def reference(self, fingerprint: ReferenceFingerprint) -> Reference:
        view = super().reference(fingerprint)
        self._offer(f"refs/{fingerprint.name}/{COMMIT}")
        return view

    def peek(self, fingerprint: ReferenceFingerprint) -> Reference | None:
        """As `ReferenceCache.peek`; a reference that only the object store has is fetched."""
        segments = f"refs/{fingerprint.name}/segments"
        there = self.bucket.attempt("fetching", lambda: self.bucket.folders(segments))
        return self.reference(fingerprint) if there else super().peek(fingerprint)

    def mend(self, fingerprint: ReferenceFingerprint, segment: str) -> bool:
        """Put the object store's copy of a damaged segment in its place; whether there was a whole one."""
        folder = self._folder(fingerprint) / "segments" / segment
        remote = SharedSegments(self.bucket, fingerprint.name, fingerprint.sha256)
        try:
            return bool(self.bucket.attempt("fetching", lambda: remote.mend(folder, self.staging)))
        except DamagedSegment as error:
            log.warning("damage in the shared cache: %s", error)
            return False

    def withdraw(self, fingerprint: ReferenceFingerprint, segment: str) -> None:
        """Take a segment out of the object store, where no mirror fetches or uploads it again. Raises `StoreTrouble`."""
        remote = SharedSegments(self.bucket, fingerprint.name, fingerprint.sha256)
        self.bucket.insist(lambda: remote.withdraw(segment))

    def _view(self, fingerprint: ReferenceFingerprint) -> SharedReference:
        folder, limit = self._folder(fingerprint), tolerance(fingerprint.identity)
        return SharedReference(folder, self.staging, fingerprint.sha256, limit, self.bucket)

    def _offer(self, name: str) -> None:
        """Put the mirror's file `name` into the object store, unless there is one: every writer's is the same."""
        self.bucket.attempt("uploading", lambda: self.bucket.create(name, (self.path / name).read_bytes()))


class SharedReference(Reference):
    """A `Reference` that fetches other writers' segments at each refresh, and uploads its own as it commits them."""

    def __init__(self, folder: Path, staging: Path, identity_sha256: str, limit: float, bucket: Bucket) -> None:
        self._bucket = bucket
        self._remote = SharedSegments(bucket, folder.name, identity_sha256)
        self._notes = Notes(folder, staging)
        self._committed: set[str] | None = None
        """Segments that the object store has, or had; None as long as it has not been asked."""
        self._refused: set[str] = set()
        super().__init__(folder, staging, identity_sha256, limit)

    # refreshing

    def refresh(self) -> None:
        """Take in what is here, fetch and take in what others have put, and upload what they lack."""
        super().refresh()  # first: what a segment here replaces need not be fetched
        if self._bucket.attempt("fetching", self._fetch):
            super().refresh()
        self._bucket.attempt("uploading", self._upload)

    def _fetch(self) -> bool:
        """Whether there was anything new."""
        if self._committed is None:
            self._committed = self._remote.committed()
            names = set(self._committed)
        else:
            names = self._remote.names()
        here = set(self._listed())
        notes = self._notes.refresh()
        self._notes.drop(here & notes.keys())  # it came back, and its process was killed
        replaced = {name for segment in self.segments for name in segment.replaces}
        replaced |= {name for note in notes.values() for name in note.replaces}
        new = names - here - replaced - notes.keys() - self._refused
        if new:
            new -= self._remote.withdrawn()
        return any(self._bucket.together(self._take, sorted(new), SEGMENTS_AT_ONCE))

    def _take(self, name: str) -> bool:
        """Copy one segment into the mirror; whether it is there, and whole."""
        made = self.staging / uuid.uuid4().hex  # two processes on one mirror may fetch the same segment
        try:
            if not self._remote.fetch(name, made):
                return False
            flush_tree(made)
            self.folder.mkdir(parents=True, exist_ok=True)
            made.rename(self.folder / name)
            flush(self.folder)
        except DamagedSegment as error:
            self._refuse(name, error)
            return False
        except OSError:
            if not (self.folder / name).exists():  # somebody else fetched it meanwhile
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
        self._known().add(name)
        return True

    def _known(self) -> set[str]:
        return set() if self._committed is None else self._committed

    def _upload(self) -> None:
        if self._committed is None:
            return  # what is there is not known: not everything that is here is new
        new = [segment for segment in self.segments if segment.id not in self._committed]
        if not new:
            return
        withdrawn = self._remote.withdrawn()
        for segment in new:
            if segment.id not in withdrawn and not self._uploaded(segment):
                continue
            self._committed.add(segment.id)

    def _uploaded(self, segment: Segment) -> bool:
        """False for what is damaged, or gone from here."""
        try:
            self._remote.upload(segment)
        except (DamagedSegment, FileNotFoundError) as error:
            if segment.path.exists():  # and was not replaced or pruned meanwhile
                self._report(segment.id, str(error))
            return False
        return True

    def _open(self, name: str) -> Segment | None:
        """As the base's; what was pruned and fetched again while it was being opened is looked at once more."""
        try:
            return open_segment(self.folder / name, self.identity_sha256)
        except DamagedSegment:
            return super()._open(name)

    # what was here and is not

    def missing(self, keys: Sequence[bytes]) -> list[bytes]:
        missing = super().missing(keys)
        return super().missing(missing) if missing and self._bring_back(missing) else missing

    def get(self, keys: Sequence[bytes]) -> list[npt.NDArray[np.float32]]:
        try:
            return super().get(keys)
        except MissingEntry:
            missing = [key for key, value in zip(keys, self.find(keys)) if value is None]
            if not self._bring_back(missing):
                raise
            return super().get(keys)

    tokens = get

    def sums(self, keys: Sequence[bytes]) -> npt.NDArray[np.float64]:
        try:
            return super().sums(keys)
        except MissingEntry:
            if not self._bring_back([key for key, value in zip(keys, self.find(keys)) if value is None]):
                raise
            return super().sums(keys)

    def _bring_back(self, keys: Sequence[bytes]) -> bool:
        """Fetch what was pruned here and holds any of `keys`, and what is damaged here; whether anything came."""
        return bool(self._bucket.attempt("fetching", lambda: self._mended() | self._unpruned(keys)))

    def _unpruned(self, keys: Sequence[bytes]) -> bool:
        came = False
        while wanted := self._notes.holding(keys):  # without one that is gone, what it had replaced may be wanted
            came |= any(self._bucket.together(self._take, wanted, SEGMENTS_AT_ONCE))
            self._notes.drop(wanted)
        if came:
            super().refresh()
        return came

    def _mended(self) -> bool:
        """Whether anything that was found damaged here is whole again."""
        found = {where[:ID_LENGTH] for where in self.damage}  # a segment, its array, or one of its rows
        mended = {name for name in sorted(found & self._known() - self._refused) if self._mend(name)}
        if mended:
            with self._lock:
                self._index = self._index.without(mended)
                self.damage = {at: what for at, what in self.damage.items() if at[:ID_LENGTH] not in mended}
            super().refresh()
        return bool(mended)

    def _mend(self, name: str) -> bool:
        try:
            return self._remote.mend(self.folder / name, self.staging)
        except DamagedSegment as error:
            self._refuse(name, error)
            return False

    def _refuse(self, name: str, error: DamagedSegment) -> None:
        """Do not fetch it again: the object store's copy is damaged."""
        self._refused.add(name)
        self._report(f"{self._bucket.url}/{name}", str(error))
