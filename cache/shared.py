"""A reference cache shared through an object store (`s3://bucket/prefix`), with a local folder as its mirror.

Segments never change, so sharing is copying: what others have committed is fetched and checked before it is believed,
what is new here is uploaded, its `zarr.json` last and only if absent; without that file a segment is not there. Reads
are the mirror's memory maps, no slower for the sharing. Costs: the disk space of a mirror, and one listing a refresh.

The store's layout is the local one, so `zarr.open_group` reads it in place. An object store that cannot be reached
stops nobody: the mirror serves, and what could not be uploaded is uploaded at the next refresh.
"""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.reference import Reference
from prefd.cache.segment import DamagedSegment, flush_tree, open_segment
from prefd.cache.store import ReferenceCache

if TYPE_CHECKING:
    from obstore.store import ObjectStore

log = logging.getLogger(__name__)

COMMIT = "zarr.json"


class CannotShare(ValueError):
    """The URL names no object store that can be used here. For whoever wrote it: says what to change."""


class Bucket:
    """The few things a cache asks of an object store under one URL. Methods raise obstore's errors."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        try:
            import obstore
            from obstore.store import from_url
        except ImportError:
            raise CannotShare(f"{url}: object stores need obstore; install prefd[s3]") from None
        self.url = url
        self._obstore = obstore
        try:
            self._store: ObjectStore = from_url(url, **(options or {}))
        except (obstore.exceptions.BaseError, ValueError) as error:
            raise CannotShare(f"{url}: {_first_line(error)}; expected something like s3://bucket/prefix") from error

    def names(self, prefix: str) -> set[str]:
        """Every object under `prefix`, relative to it."""
        found = self._obstore.list(self._store, prefix=prefix)
        return {each["path"].removeprefix(f"{prefix}/") for chunk in found for each in chunk}

    def get(self, name: str) -> bytes:
        return bytes(self._obstore.get(self._store, name).bytes())

    def create(self, name: str, data: bytes) -> bool:
        """Put `data` at `name` if nothing is there; whether it was put."""
        try:
            self._obstore.put(self._store, name, data, mode="create", use_multipart=False)
        except self._obstore.exceptions.AlreadyExistsError:
            return False
        return True

    def put(self, name: str, data: bytes) -> None:
        self._obstore.put(self._store, name, data)

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        return (self._obstore.exceptions.BaseError, OSError)


@dataclass(frozen=True)
class SharedCache(ReferenceCache):
    """A `ReferenceCache` whose references are those of `bucket` too. `path` is the mirror."""

    bucket: Bucket = field(kw_only=True)

    @classmethod
    def at(cls, url: str, mirror: Path, options: Mapping[str, Any] | None = None) -> SharedCache:
        """The cache at `url`, made when there is none. Raises `CannotShare`, and `NotACache` for a bad mirror."""
        shared = cls(ReferenceCache.open(mirror).path, bucket=Bucket(url, options))
        shared._offer(COMMIT)
        return shared

    def reference(self, fingerprint: ReferenceFingerprint) -> Reference:
        super().reference(fingerprint)
        folder = self.path / "refs" / fingerprint.name
        self._offer(f"refs/{fingerprint.name}/{COMMIT}")
        return SharedReference(folder, self.staging, fingerprint.sha256, self.bucket)

    def peek(self, fingerprint: ReferenceFingerprint) -> Reference | None:
        """As `ReferenceCache.peek`; a reference that only the object store has is fetched."""
        try:
            there = bool(self.bucket.names(f"refs/{fingerprint.name}"))
        except self.bucket.errors as error:
            _unreachable(self.bucket.url, error)
            there = False
        return self.reference(fingerprint) if there else super().peek(fingerprint)

    def _offer(self, name: str) -> None:
        """Put the mirror's file `name` into the object store, unless there is one: every writer's is the same."""
        try:
            self.bucket.create(name, (self.path / name).read_bytes())
        except self.bucket.errors as error:
            _unreachable(self.bucket.url, error)


class SharedReference(Reference):
    """A `Reference` that fetches other writers' segments at each refresh, and uploads its own as it commits them."""

    def __init__(self, folder: Path, staging: Path, identity_sha256: str, bucket: Bucket) -> None:
        self._bucket = bucket
        self._prefix = f"refs/{folder.name}/segments"
        self._shared: set[str] = set()
        self._refused: set[str] = set()
        super().__init__(folder, staging, identity_sha256)

    def refresh(self) -> None:
        """Take in what is here, fetch and take in what others have put, and upload what they lack."""
        super().refresh()  # first: what a segment here replaces need not be fetched
        try:
            if self._fetch():
                super().refresh()
            self._upload()
        except self._bucket.errors as error:
            _unreachable(self._bucket.url, error)

    def _fetch(self) -> bool:
        """Whether there was anything new."""
        objects = self._bucket.names(self._prefix)
        committed = {name.removesuffix(f"/{COMMIT}") for name in objects if name.count("/") == 1 and COMMIT in name}
        self._shared = committed
        replaced = {name for segment in self.segments for name in segment.replaces}
        new = sorted(committed - set(self._listed()) - replaced - self._refused)
        for segment in new:
            self._take(segment, [name for name in objects if name.startswith(f"{segment}/")])
        return bool(new)

    def _take(self, segment: str, objects: Iterable[str]) -> None:
        """Copy one segment into the mirror, if it is whole."""
        made = self.staging / uuid.uuid4().hex  # two processes on one mirror may fetch the same segment
        try:
            for name in objects:
                target = made / name.removeprefix(f"{segment}/")
                if not target.resolve().is_relative_to(made.resolve()):
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(self._bucket.get(f"{self._prefix}/{name}"))
            open_segment(made, self.identity_sha256).check_logprobs()
            flush_tree(made)
            self.folder.mkdir(parents=True, exist_ok=True)
            made.rename(self.folder / segment)
        except DamagedSegment as error:
            self._refused.add(segment)
            self._report(segment, f"{self._bucket.url}: {error}")
        except OSError:
            if not (self.folder / segment).exists():  # somebody else fetched it meanwhile
                raise
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def _upload(self) -> None:
        for segment in self.segments:
            if segment.id in self._shared:
                continue
            for path in sorted(segment.path.rglob("*")):
                if path.is_file() and path != segment.path / COMMIT:
                    name = path.relative_to(segment.path).as_posix()
                    self._bucket.put(f"{self._prefix}/{segment.id}/{name}", path.read_bytes())
            self._bucket.create(f"{self._prefix}/{segment.id}/{COMMIT}", (segment.path / COMMIT).read_bytes())
            self._shared.add(segment.id)


def _unreachable(url: str, error: Exception) -> None:
    log.warning("the shared cache at %s cannot be used now (%s); going on with the mirror", url, _first_line(error))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
