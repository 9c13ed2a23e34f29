"""One reference as it lies on disk, for the tools that look after it: its segment folders, whole, replaced and damaged.

A `Reference` serves values and passes over what it cannot use; a `StoredReference` says what is there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.segments.durable import flush, flush_for_good
from prefd.cache.segments.ids import is_id
from prefd.cache.segments.layout import ARRAYS, chunk_path
from prefd.cache.segments.read_errors import raise_if_unreadable
from prefd.cache.segments.segment import (
    DamagedSegment,
    Segment,
    open_segment,
    write_segment,
)
from prefd.cache.store import ReferenceCache, children
from prefd.cache.upkeep.pruned_notes import Note, Notes

FINGERPRINT = re.compile(r"[0-9a-f]{32}")
Entries = Mapping[bytes, npt.NDArray[np.float32]]


class DamagedReference(Exception):
    """A reference whose attributes cannot be read or do not say who its folder says it is."""

    def __init__(self, folder: Path, what: str) -> None:
        super().__init__(f"{folder / 'zarr.json'}: {what}")
        self.folder = folder


@dataclass(frozen=True)
class Survey:
    """Every segment folder of a reference at one moment. Each folder is in one of the three."""

    live: tuple[Segment, ...]
    """What readers use, lowest id first: of those that hold the same key, the first wins."""
    replaced: tuple[Segment, ...]
    """Whole, and hidden by a whole segment that holds what they hold."""
    damaged: Mapping[str, str]
    """Folder name → what is wrong with it."""


@dataclass(frozen=True)
class StoredReference:
    """The folder `refs/<fingerprint>`."""

    folder: Path
    staging: Path
    fingerprint: ReferenceFingerprint
    mirror: bool = False
    """As `ReferenceCache.mirror`."""

    @classmethod
    def open(cls, folder: Path, cache: ReferenceCache) -> StoredReference:
        """Raises `DamagedReference`, and `NotPermitted`."""
        try:
            attributes: dict[str, Any] = json.loads((folder / "zarr.json").read_bytes())["attributes"]
            fingerprint = ReferenceFingerprint(attributes["identity"], attributes["provenance"])
            recorded, found = attributes["identity_sha256"], fingerprint.sha256
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise_if_unreadable(error)
            raise DamagedReference(folder, f"{type(error).__name__}: {error}") from error
        if recorded != found or folder.name != fingerprint.name:
            raise DamagedReference(folder, f"its identity is that of {fingerprint.name}")
        return cls(folder, cache.staging, fingerprint, cache.mirror)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def segments(self) -> Path:
        return self.folder / "segments"

    def segment_names(self) -> list[str]:
        """Folders in `segments/` that are named as segments are."""
        return [each.name for each in children(self.segments) if is_id(each.name) and each.is_dir()]

    def segment(self, name: str) -> Segment:
        """Raises `DamagedSegment`."""
        return open_segment(self.segments / name, self.fingerprint.sha256)

    def survey(self) -> Survey:
        """Open every segment."""
        whole, damaged = [], {}
        for name in self.segment_names():
            try:
                whole.append(self.segment(name))
            except DamagedSegment as error:
                damaged[name] = str(error)
            except FileNotFoundError:
                continue  # moved away meanwhile
        hidden = {name for segment in whole for name in segment.replaces if name != segment.id}
        return Survey(
            tuple(segment for segment in whole if segment.id not in hidden),
            tuple(segment for segment in whole if segment.id in hidden),
            damaged,
        )

    def stage(self, entries: Entries, name: str, replaces: tuple[str, ...] = ()) -> Path:
        """Write `entries` as a segment that nobody sees yet, and flush it."""
        made = self.staging / name
        try:
            write_segment(made, entries, self.fingerprint.sha256, replaces)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        return made

    def publish(self, made: Path) -> None:
        """Rename a staged segment into place; it is there for good when this returns."""
        self.segments.mkdir(exist_ok=True)  # not its parents: a reference that was pruned meanwhile stays away
        made.rename(self.segments / made.name)
        flush_for_good(self.segments)

    def move_to_quarantine(self, name: str) -> Path:
        """Take a damaged segment out of the readers' sight, and keep it."""
        return quarantine(self.segments / name)

    def remove(self, name: str) -> None:
        """Delete segment `name`; a mirror notes it, so that it is not fetched back."""
        note = Note.of(self.segments / name) if self.mirror else None
        discard(self.segments / name, self.staging)
        if note is not None:
            Notes(self.folder, self.staging).leave(name, note)


def quarantine(segment: Path) -> Path:
    """Move a segment folder to its reference's `quarantine/`; where it lies then. Raises FileNotFoundError."""
    folder = segment.parents[1] / "quarantine"
    folder.mkdir(exist_ok=True)
    aside = folder / segment.name
    if aside.exists():
        aside = folder / f"{segment.name}.{uuid.uuid4().hex[:8]}"
    segment.rename(aside)
    flush(folder)
    flush(segment.parent)
    return aside


def files_of_a_segment() -> list[str]:
    """Relative to its folder; the one that makes it a segment first."""
    arrays = [f"{name}/zarr.json" for name in ARRAYS]
    return ["zarr.json", *arrays, *(chunk_path(Path(), name).as_posix() for name in ARRAYS)]


def stored_references(cache: ReferenceCache) -> Iterator[StoredReference | DamagedReference]:
    """Every reference of `cache` in order of fingerprint; the error in place of one that cannot be opened."""
    for folder in reference_folders(cache):
        try:
            yield StoredReference.open(folder, cache)
        except DamagedReference as error:
            yield error


def whole_references(cache: ReferenceCache, prefix: str = "") -> list[StoredReference]:
    """Those of `stored_references` that can be opened, and whose fingerprint starts with `prefix`."""
    return [
        each for each in stored_references(cache) if isinstance(each, StoredReference) and each.name.startswith(prefix)
    ]


def reference_folders(cache: ReferenceCache) -> list[Path]:
    return [each for each in children(cache.path / "refs") if FINGERPRINT.fullmatch(each.name) and each.is_dir()]


def discard(path: Path, staging: Path) -> None:
    """Delete a folder or file of the store. It leaves its place in one rename, so that no reader finds half of it."""
    aside = set_aside(path, staging)
    if aside is not None:
        aside.delete()


@dataclass(frozen=True)
class Aside:
    """A folder or file that has left its place and can still be put back."""

    path: Path
    now: Path
    mtime_ns: int
    """Of a segment's folder: when it was last used."""

    def delete(self) -> None:
        if self.now.is_dir() and not self.now.is_symlink():
            shutil.rmtree(self.now, ignore_errors=True)
        else:
            self.now.unlink(missing_ok=True)

    def put_back(self) -> bool:
        """Whether it is in its place again. Not where something else has taken it, or someone swept this one away."""
        try:
            os.utime(self.now, ns=(self.mtime_ns, self.mtime_ns))
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.now.rename(self.path)
        except OSError:
            return False
        return True


def set_aside(path: Path, staging: Path) -> Aside | None:
    """Take `path` out of the readers' sight in one rename; None where it is gone already."""
    staging.mkdir(exist_ok=True)
    now = staging / f"{path.name}.{uuid.uuid4().hex[:8]}.deleted"
    try:
        mtime_ns = path.lstat().st_mtime_ns
        path.rename(now)
        os.utime(now, follow_symlinks=False)  # to whoever sweeps it is as young as it lies there
    except FileNotFoundError:
        return None
    return Aside(path, now, mtime_ns)


def size_of(path: Path) -> int:
    """Bytes of a file, or in the files under a folder; what vanishes meanwhile counts nothing."""
    total = 0
    for each in [path] if path.is_file() else files_under(path):
        try:
            total += each.stat().st_size
        except OSError:
            continue
    return total


def files_under(folder: Path) -> Iterator[Path]:
    """Every file; unlike `rglob`, no error when another process deletes a folder on the way."""
    for parent, _, names in os.walk(folder):
        yield from (Path(parent) / name for name in names)


def age_of(path: Path, now: float | None = None) -> float:
    """Seconds since `path` was last changed or used; 0 where it is gone, or a clock was set back."""
    try:
        return max(0.0, (time.time() if now is None else now) - path.stat().st_mtime)
    except OSError:
        return 0.0
