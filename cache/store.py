"""ReferenceCache: the whole store, a folder with one sub-folder a reference. No lock, no file that two may change."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zarr

from prefd.cache.agreement import tolerance
from prefd.cache.errors import CacheError
from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.reference import Reference
from prefd.cache.segments.durable import flush
from prefd.cache.segments.read_errors import raise_if_unreadable

FORMAT = {"format": "prefd-reference-cache", "version": 1}


class NotACache(CacheError, ValueError):
    """A folder that is something else, or a cache of a version this prefd cannot read."""


@dataclass(frozen=True)
class ReferenceInfo:
    """What `prefd cache ls` shows of one reference."""

    fingerprint: str
    identity: Mapping[str, Any]
    provenance: Mapping[str, Any]
    segments: int
    entries: int
    tokens: int
    bytes: int
    damaged: list[str]


@dataclass(frozen=True)
class ReferenceCache:
    """A store at `path`. Any number of processes may hold one open and write to it."""

    path: Path
    mirror: bool = False
    """Whether it is the mirror of a shared one: what is removed from it leaves a note, and is not fetched back."""

    @classmethod
    def open(cls, path: Path, create: bool = True, mirror: bool = False) -> ReferenceCache:
        """The cache at `path`, made if the folder is missing or empty (`create`). Raises `NotACache` for anything else.

        Opening writes nothing where there is a cache already.
        """
        marker = path / "zarr.json"
        if not marker.exists():
            if not create:
                raise NotACache(
                    f"there is no reference cache at {path}; name the folder that has a zarr.json and refs/"
                )
            if path.exists() and any(not each.name.startswith(".") for each in path.iterdir()):
                raise NotACache(f"{path} holds other files and no cache; name an empty or missing folder")
            _publish_group(path, FORMAT, staging=path / ".tmp")
        attributes = _attributes(marker)
        if attributes.get("format") != FORMAT["format"]:
            raise NotACache(f"{path} is a zarr group, but not a reference cache; name another folder")
        if attributes.get("version") != FORMAT["version"]:
            version = attributes.get("version")
            raise NotACache(f"{path} has cache version {version}; this prefd reads {FORMAT['version']}: upgrade prefd")
        return ReferenceCache(path, mirror)

    @property
    def memo(self) -> Path:
        """Where weight files' digests are remembered."""
        return self.path / ".memo"

    @property
    def staging(self) -> Path:
        """Where segments are written before they are renamed into place."""
        return self.path / ".tmp"

    def peek(self, fingerprint: ReferenceFingerprint) -> Reference | None:
        """The entries of one reference, None if the store has none of it. Makes nothing."""
        return self._view(fingerprint) if self._folder(fingerprint).exists() else None

    def reference(self, fingerprint: ReferenceFingerprint) -> Reference:
        """The entries of one reference, which is made if the store has none of it yet."""
        folder = self._folder(fingerprint)
        if not (folder / "zarr.json").exists():
            attributes = {
                "identity": dict(fingerprint.identity),
                "identity_sha256": fingerprint.sha256,
                "provenance": dict(fingerprint.provenance),
            }
            _publish_group(folder, attributes, staging=self.staging)
        return self._view(fingerprint)

    def _folder(self, fingerprint: ReferenceFingerprint) -> Path:
        return self.path / "refs" / fingerprint.name

    def _view(self, fingerprint: ReferenceFingerprint) -> Reference:
        folder = self._folder(fingerprint)
        return Reference(folder, self.staging, fingerprint.sha256, tolerance(fingerprint.identity))

    def mend(self, fingerprint: ReferenceFingerprint, segment: str) -> bool:
        """Put a whole copy in a damaged segment's place; whether one was to be had: there is none of what is not shared."""
        return False

    def withdraw(self, fingerprint: ReferenceFingerprint, segment: str) -> None:
        """Take a segment out of the object store, if this is the mirror of one."""

    def leftovers(self, older_than_s: float) -> list[Path]:
        """What killed writers left in the staging folder: anything in which nothing has changed for so many seconds."""
        return [each for each in children(self.staging) if time.time() - _last_change(each) > older_than_s]

    def sweep_staging(self, older_than_s: float) -> list[Path]:
        """Remove `leftovers`, and say what that was.

        A writer that is that slow gets an OSError from its `put` and can put again.
        """
        stale = self.leftovers(older_than_s)
        for each in stale:
            if each.is_dir():
                shutil.rmtree(each, ignore_errors=True)
            else:
                each.unlink(missing_ok=True)
        return stale

    def references(self) -> list[ReferenceInfo]:
        """Every reference in the store, with what it holds; opens every segment."""
        return [self._describe(folder) for folder in children(self.path / "refs") if folder.is_dir()]

    def _describe(self, folder: Path) -> ReferenceInfo:
        try:
            attributes = _attributes(folder / "zarr.json")
        except NotACache as error:
            return ReferenceInfo(folder.name, {}, {}, 0, 0, 0, 0, [str(error)])
        reference = Reference(folder, self.staging, str(attributes["identity_sha256"]))
        segments = reference.segments
        return ReferenceInfo(
            folder.name,
            attributes["identity"],
            attributes["provenance"],
            len(segments),
            sum(segment.entries for segment in segments),
            sum(segment.tokens for segment in segments),
            sum(segment.bytes for segment in segments),
            list(reference.damage),
        )


def children(folder: Path) -> list[Path]:
    """What lies in `folder`, in order; nothing where there is none, or another process deletes it at this moment."""
    try:
        return [folder / name for name in sorted(os.listdir(folder))]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _last_change(folder: Path) -> float:
    """The latest mtime in the tree at `folder`; now, for one that vanishes meanwhile."""
    try:
        return max(each.stat().st_mtime for each in (folder, *folder.rglob("*")))
    except OSError:
        return time.time()


def _attributes(marker: Path) -> dict[str, Any]:
    try:
        attributes: dict[str, Any] = json.loads(marker.read_bytes())["attributes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise_if_unreadable(error)
        raise NotACache(
            f"{marker} cannot be read ({error}); restore it from a backup or move the folder away"
        ) from None
    return attributes


def _publish_group(folder: Path, attributes: Mapping[str, Any], staging: Path) -> None:
    """Make `folder` a zarr group with `attributes` at once: written in `staging`, then `zarr.json` linked into place."""
    made = staging / uuid.uuid4().hex
    try:
        zarr.create_group(made, attributes=dict(attributes), zarr_format=3)
        folder.mkdir(parents=True, exist_ok=True)
        flush(made / "zarr.json")
        (made / "zarr.json").replace(folder / "zarr.json")  # writers that race here write the same bytes
        flush(folder)
        flush(folder.parent)
    finally:
        shutil.rmtree(made, ignore_errors=True)
