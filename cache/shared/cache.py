"""Shares a reference cache through an object store (`s3://bucket/prefix`), with a local folder as its mirror.

Segments never change, so sharing is copying: what others have committed is fetched and checked before it is believed,
what is new here is checked and uploaded, its `zarr.json` last and only if absent; without that file a segment is not
there. Reads are the mirror's memory maps, no slower for the sharing. This costs the disk space of a mirror, a listing
of all objects when a reference is opened, and one of the segments' names a refresh.

What is pruned from the mirror leaves a note (`pruned_notes.py`) and is fetched back when a job asks for one of its
keys. What is taken out of the object store leaves an empty object under `pruned/` there, so that no mirror uploads it
again. A segment that is damaged here is fetched again; one that is damaged there is reported and not believed.

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

from prefd.cache.agreement import find_tolerance
from prefd.cache.claims import FOLDER, Claims
from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.reference import MissingEntry, Reference
from prefd.cache.segments.durable import flush, flush_tree
from prefd.cache.segments.ids import ID_LENGTH
from prefd.cache.segments.segment import DamagedSegment, Segment, open_segment
from prefd.cache.shared.bucket import COMMIT, Bucket
from prefd.cache.shared.claims import BucketClaims
from prefd.cache.shared.segments import SharedSegments
from prefd.cache.store import ReferenceCache
from prefd.cache.upkeep.pruned_notes import Notes

log = logging.getLogger(__name__)

SEGMENTS_AT_ONCE = 4  # each with connections of its own


@dataclass(frozen=True)
class SharedCache(ReferenceCache):
    """SharedCache is a `ReferenceCache` at `path` that mirrors the one in `bucket`, and has that one's references too."""

    mirror: bool = True
    bucket: Bucket = field(kw_only=True)

    @classmethod
    def connect(cls, url: str, mirror: Path, options: Mapping[str, Any] | None = None) -> SharedCache:
        """Opens the cache at `url`, made when there is none. Raises `CannotShare`, and `NotACache` for a bad mirror."""
        shared = cls(ReferenceCache.open(mirror).path, bucket=Bucket(url, options))
        shared._offer(COMMIT)
        return shared

    def reference(self, fingerprint: ReferenceFingerprint) -> Reference:
        """Opens the entries of one reference, which is made here and in the object store where it is missing."""
        view = super().reference(fingerprint)
        self._offer(f"refs/{fingerprint.name}/{COMMIT}")
        return view

    def peek(self, fingerprint: ReferenceFingerprint) -> Reference | None:
        """Opens the entries of one reference, None if neither the mirror nor the object store has it."""
        prefix = f"refs/{fingerprint.name}/segments"
        segments = self.bucket.attempt("fetching", lambda: self.bucket.list_folders(prefix))
        return self.reference(fingerprint) if segments else super().peek(fingerprint)

    def mend(self, fingerprint: ReferenceFingerprint, segment: str) -> bool:
        """Puts the object store's copy of a damaged segment in its place, and says whether there was a whole one."""
        folder = self._folder(fingerprint) / "segments" / segment
        remote = SharedSegments(self.bucket, fingerprint.name, fingerprint.sha256)
        try:
            return bool(self.bucket.attempt("fetching", lambda: remote.mend(folder, self.staging)))
        except DamagedSegment as error:
            log.warning("damage in the shared cache: %s", error)
            return False

    def withdraw(self, fingerprint: ReferenceFingerprint, segment: str) -> None:
        """Takes a segment out of the object store, and no mirror uploads it again. Raises `StoreTrouble`."""
        remote = SharedSegments(self.bucket, fingerprint.name, fingerprint.sha256)
        self.bucket.insist(lambda: remote.withdraw(segment))

    def _view(self, fingerprint: ReferenceFingerprint) -> SharedReference:
        folder, limit = self._folder(fingerprint), find_tolerance(fingerprint.identity)
        return SharedReference(folder, self.staging, fingerprint.sha256, limit, self.bucket)

    def _offer(self, name: str) -> None:
        """Puts the mirror's file `name` into the object store, unless there is one: every writer's is the same."""
        self.bucket.attempt("uploading", lambda: self.bucket.create(name, (self.path / name).read_bytes()))


class SharedReference(Reference):
    """SharedReference is a `Reference` that fetches other machines' segments at each refresh, and uploads its own as it commits them."""

    def __init__(self, folder: Path, staging: Path, identity_sha256: str, limit: float, bucket: Bucket) -> None:
        self._bucket = bucket
        self._remote = SharedSegments(bucket, folder.name, identity_sha256)
        self._notes = Notes(folder, staging)
        self._committed: set[str] | None = None
        """Ids of segments that the object store has, or had; None as long as it has not been asked."""
        self._refused: set[str] = set()
        super().__init__(folder, staging, identity_sha256, limit)

    # refreshing

    def refresh(self) -> None:
        """Opens what is new in the mirror, fetches what others have put, and uploads what they lack."""
        super().refresh()  # first: what a segment here replaces need not be fetched
        if self._bucket.attempt("fetching", self._fetch_new):
            super().refresh()
        self._bucket.attempt("uploading", self._upload_new)

    def _fetch_new(self) -> bool:
        """Fetches the segments that the mirror lacks, and says whether there were any."""
        if self._committed is None:
            self._committed = self._remote.list_committed()
            names = set(self._committed)
        else:
            names = self._remote.list_names()
        local = set(self._list_names())
        notes = self._notes.refresh()
        self._notes.drop(local & notes.keys())  # it came back, and its process was killed
        replaced = {name for segment in self.segments for name in segment.replaces}
        replaced |= {name for note in notes.values() for name in note.replaces}
        missing = names - local - replaced - notes.keys() - self._refused
        if missing:
            missing -= self._remote.list_withdrawn()
        return any(self._bucket.run_together(self._fetch_segment, sorted(missing), SEGMENTS_AT_ONCE))

    def _fetch_segment(self, name: str) -> bool:
        """Copies one segment into the mirror, and says whether it is there, and whole."""
        staged = self.staging / uuid.uuid4().hex  # two processes on one mirror may fetch the same segment
        try:
            if not self._remote.fetch(name, staged):
                return False
            flush_tree(staged)
            self.folder.mkdir(parents=True, exist_ok=True)
            staged.rename(self.folder / name)
            flush(self.folder)
        except DamagedSegment as error:
            self._refuse(name, error)
            return False
        except OSError:
            if not (self.folder / name).exists():  # somebody else fetched it meanwhile
                raise
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        self._known_ids().add(name)
        return True

    def _known_ids(self) -> set[str]:
        """Ids of segments that the object store is known to have, or to have had."""
        return set() if self._committed is None else self._committed

    def _upload_new(self) -> None:
        """Uploads the segments that the object store never had."""
        if self._committed is None:
            return  # the object store was not listed yet: not all that is here is new
        new = [segment for segment in self.segments if segment.id not in self._committed]
        if not new:
            return
        withdrawn = self._remote.list_withdrawn()
        for segment in new:
            if segment.id not in withdrawn and not self._upload_segment(segment):
                continue
            self._committed.add(segment.id)

    def _upload_segment(self, segment: Segment) -> bool:
        """Uploads one segment; False for one that is damaged, or gone from the mirror."""
        try:
            self._remote.upload(segment)
        except (DamagedSegment, FileNotFoundError) as error:
            if segment.path.exists():  # and was not replaced or pruned meanwhile
                self._report(segment.id, str(error))
            return False
        return True

    def _open_segment(self, name: str) -> Segment | None:
        """Opens a segment; tries twice, as it may be pruned and fetched again while it is being opened."""
        try:
            return open_segment(self.folder / name, self.identity_sha256)
        except DamagedSegment:
            return super()._open_segment(name)

    # looking for what was pruned or damaged here

    def missing(self, keys: Sequence[bytes]) -> list[bytes]:
        """Finds those of `keys` that have to be scored: no segment that can be fetched has them either."""
        missing = super().missing(keys)
        return super().missing(missing) if missing and self._bring_back(missing) else missing

    def get(self, keys: Sequence[bytes]) -> list[npt.NDArray[np.float32]]:
        """Looks up (length,) float32 log-probabilities of each key, fetched where need be. Raises `MissingEntry`."""
        try:
            return super().get(keys)
        except MissingEntry:
            missing = [key for key, value in zip(keys, self.find(keys)) if value is None]
            if not self._bring_back(missing):
                raise
            return super().get(keys)

    tokens = get

    def sums(self, keys: Sequence[bytes]) -> npt.NDArray[np.float64]:
        """Looks up log π_ref of each whole completion, (n,) float64, fetched where need be. Raises `MissingEntry`."""
        try:
            return super().sums(keys)
        except MissingEntry:
            if not self._bring_back([key for key, value in zip(keys, self.find(keys)) if value is None]):
                raise
            return super().sums(keys)

    def _bring_back(self, keys: Sequence[bytes]) -> bool:
        """Fetches what is damaged here, or was pruned and holds any of `keys`; says whether anything came."""
        return bool(self._bucket.attempt("fetching", lambda: self._mend_damaged() | self._fetch_pruned(keys)))

    def _fetch_pruned(self, keys: Sequence[bytes]) -> bool:
        """Fetches the pruned segments that hold any of `keys`, and says whether any came."""
        fetched = False
        while names := self._notes.find_holders(keys):  # where one cannot be had, those that it had replaced are tried
            fetched |= any(self._bucket.run_together(self._fetch_segment, names, SEGMENTS_AT_ONCE))
            self._notes.drop(names)
        if fetched:
            super().refresh()
        return fetched

    def _mend_damaged(self) -> bool:
        """Fetches whole copies of the segments that are damaged here, and says whether any came."""
        damaged = {place[:ID_LENGTH] for place in self.damage}  # a segment, its array, or one of its rows
        mended = {name for name in sorted(damaged & self._known_ids() - self._refused) if self._mend_segment(name)}
        if mended:
            with self._lock:
                self._index = self._index.without(mended)
                self.damage = {
                    place: message for place, message in self.damage.items() if place[:ID_LENGTH] not in mended
                }
            super().refresh()
        return bool(mended)

    def _mend_segment(self, name: str) -> bool:
        """Puts the object store's copy in the place of one damaged segment, and says whether it could."""
        try:
            return self._remote.mend(self.folder / name, self.staging)
        except DamagedSegment as error:
            self._refuse(name, error)
            return False

    def open_claims(self) -> Claims:
        """Opens the notes of writers on which entries they are computing now: in the object store, for those of other mirrors."""
        return Claims(BucketClaims(self._bucket, f"refs/{self.folder.parent.name}/{FOLDER}"), self._bucket.errors)

    def _refuse(self, name: str, error: DamagedSegment) -> None:
        """Reports that the object store's copy of a segment is damaged, and fetches it no more."""
        self._refused.add(name)
        self._report(f"{self._bucket.url}/{name}", str(error))
