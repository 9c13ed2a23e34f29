"""Shows one reference as it lies on the disk, for the tools that look after it: segments whole, replaced and damaged.

A `Reference` serves values and passes over what it cannot use; a `StoredReference` lists it.
"""

from __future__ import annotations

import json
import re
import shutil
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
from prefd.cache.upkeep.aside import discard
from prefd.cache.upkeep.pruned_notes import Note, Notes
from prefd.plugins.errors import describe_exception

FINGERPRINT = re.compile(r"[0-9a-f]{32}")
Entries = Mapping[bytes, npt.NDArray[np.float32]]


class DamagedReference(Exception):
    """DamagedReference is raised for a reference whose attributes cannot be read, or have another fingerprint than its folder's name."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(f"{folder / 'zarr.json'}: {reason}")
        self.folder = folder


@dataclass(frozen=True)
class Survey:
    """Survey lists every segment folder of a reference at one moment. Each folder is in one of the three lists."""

    live: tuple[Segment, ...]
    """Segments that readers use, lowest id first: of those that hold the same key, the first wins."""
    replaced: tuple[Segment, ...]
    """Whole segments, hidden by a whole one that holds what they hold."""
    damaged: Mapping[str, str]
    """Folder name → what is wrong with it."""


@dataclass(frozen=True)
class StoredReference:
    """Looks after the folder `refs/<fingerprint>` of one reference."""

    folder: Path
    staging: Path
    fingerprint: ReferenceFingerprint
    mirror: bool = False
    """Whether the store mirrors a shared cache: a removed segment leaves a note then."""

    @classmethod
    def open(cls, folder: Path, cache: ReferenceCache) -> StoredReference:
        """Reads who the reference in `folder` is. Raises `DamagedReference`, and `NotPermitted`."""
        try:
            attributes: dict[str, Any] = json.loads((folder / "zarr.json").read_bytes())["attributes"]
            fingerprint = ReferenceFingerprint(attributes["identity"], attributes["provenance"])
            recorded, computed = attributes["identity_sha256"], fingerprint.sha256
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise_if_unreadable(error)
            raise DamagedReference(folder, describe_exception(error)) from error
        if recorded != computed or folder.name != fingerprint.name:
            raise DamagedReference(folder, f"its identity is that of {fingerprint.name}")
        return cls(folder, cache.staging, fingerprint, cache.mirror)

    @property
    def name(self) -> str:
        """Returns the reference's fingerprint, in hexadecimal."""
        return self.folder.name

    @property
    def segments(self) -> Path:
        """Returns the folder of the reference's segments."""
        return self.folder / "segments"

    def segment_names(self) -> list[str]:
        """Lists the folders in `segments/` that are named as segments are."""
        return [each.name for each in children(self.segments) if is_id(each.name) and each.is_dir()]

    def segment(self, name: str) -> Segment:
        """Opens segment `name`. Raises `DamagedSegment`."""
        return open_segment(self.segments / name, self.fingerprint.sha256)

    def survey(self) -> Survey:
        """Opens every segment, and sorts them into live, replaced and damaged."""
        segments, damaged = [], {}
        for name in self.segment_names():
            try:
                segments.append(self.segment(name))
            except DamagedSegment as error:
                damaged[name] = str(error)
            except FileNotFoundError:
                continue  # moved away meanwhile
        hidden = {name for segment in segments for name in segment.replaces if name != segment.id}
        return Survey(
            tuple(segment for segment in segments if segment.id not in hidden),
            tuple(segment for segment in segments if segment.id in hidden),
            damaged,
        )

    def stage(self, entries: Entries, name: str, replaces: tuple[str, ...] = ()) -> Path:
        """Writes `entries` as a segment in the staging folder, where no reader looks, and flushes it."""
        staged = self.staging / name
        try:
            write_segment(staged, entries, self.fingerprint.sha256, replaces)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
        return staged

    def publish(self, staged: Path) -> None:
        """Renames a staged segment into place; it is durable when this returns."""
        self.segments.mkdir(exist_ok=True)  # not its parents: a reference that was pruned meanwhile stays away
        staged.rename(self.segments / staged.name)
        flush_for_good(self.segments)

    def move_to_quarantine(self, name: str) -> Path:
        """Takes a damaged segment out of the readers' sight, without deleting it. Returns where it lies then."""
        return quarantine(self.segments / name)

    def remove(self, name: str) -> None:
        """Deletes segment `name`; a mirror notes it, so that it is not fetched back."""
        note = Note.from_segment(self.segments / name) if self.mirror else None
        discard(self.segments / name, self.staging)
        if note is not None:
            Notes(self.folder, self.staging).leave(name, note)


def quarantine(segment: Path) -> Path:
    """Moves a segment folder to its reference's `quarantine/`. Returns where it lies then. Raises FileNotFoundError."""
    folder = segment.parents[1] / "quarantine"
    folder.mkdir(exist_ok=True)
    target = folder / segment.name
    if target.exists():
        target = folder / f"{segment.name}.{uuid.uuid4().hex[:8]}"
    segment.rename(target)
    flush(folder)
    flush(segment.parent)
    return target


def files_of_a_segment() -> list[str]:
    """Lists the files of a segment, relative to its folder; the one that makes it a segment comes first."""
    arrays = [f"{name}/zarr.json" for name in ARRAYS]
    return ["zarr.json", *arrays, *(chunk_path(Path(), name).as_posix() for name in ARRAYS)]


def stored_references(cache: ReferenceCache) -> Iterator[StoredReference | DamagedReference]:
    """Opens every reference of `cache` in order of fingerprint; yields the error where it cannot."""
    for folder in reference_folders(cache):
        try:
            yield StoredReference.open(folder, cache)
        except DamagedReference as error:
            yield error


def whole_references(cache: ReferenceCache, prefix: str = "") -> list[StoredReference]:
    """Opens the references whose fingerprint starts with `prefix`, without those that it cannot open."""
    return [
        each for each in stored_references(cache) if isinstance(each, StoredReference) and each.name.startswith(prefix)
    ]


def reference_folders(cache: ReferenceCache) -> list[Path]:
    """Lists the folders of a store's references, in order of fingerprint."""
    return [each for each in children(cache.path / "refs") if FINGERPRINT.fullmatch(each.name) and each.is_dir()]
