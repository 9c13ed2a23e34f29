"""Opens the store of all references' scores: a folder with one sub-folder a reference.

It has no lock, and no file that two processes may change.
"""

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

from prefd.cache.agreement import find_tolerance
from prefd.cache.errors import CacheError
from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.reference import Reference
from prefd.cache.segments.durable import flush
from prefd.cache.segments.read_errors import raise_if_unreadable

FORMAT = {"format": "prefd-reference-cache", "version": 1}


class NotACache(CacheError, ValueError):
    """NotACache is raised for a folder that is something else, or a cache of a version this prefd cannot read."""


@dataclass(frozen=True)
class ReferenceInfo:
    """ReferenceInfo holds what `prefd cache ls` shows of one reference."""

    fingerprint: str
    identity: Mapping[str, Any]
    provenance: Mapping[str, Any]
    segments: int
    entries: int
    tokens: int
    bytes: int
    damaged: list[str]

    def to_json(self) -> dict[str, Any]:
        """Describes the reference as `prefd cache ls --json` prints it."""
        return {
            "fingerprint": self.fingerprint,
            "model": self.provenance.get("model"),
            "entries": self.entries,
            "tokens": self.tokens,
            "bytes": self.bytes,
            "segments": self.segments,
            "damaged": self.damaged,
            "identity": dict(self.identity),
            "provenance": dict(self.provenance),
        }


@dataclass(frozen=True)
class ReferenceCache:
    """ReferenceCache is a store at `path`. Any number of processes may hold one open and write to it."""

    path: Path
    mirror: bool = False
    """Whether it mirrors a shared cache: a segment that is removed leaves a note then, and is not fetched back."""

    @classmethod
    def open(cls, path: Path, create: bool = True, mirror: bool = False) -> ReferenceCache:
        """Opens the cache at `path`, made if the folder is missing or empty (`create`). Raises `NotACache` otherwise.

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
        attributes = _read_attributes(marker)
        if attributes.get("format") != FORMAT["format"]:
            raise NotACache(f"{path} is a zarr group, but not a reference cache; name another folder")
        if attributes.get("version") != FORMAT["version"]:
            version = attributes.get("version")
            raise NotACache(f"{path} has cache version {version}; this prefd reads {FORMAT['version']}: upgrade prefd")
        return ReferenceCache(path, mirror)

    @property
    def memo(self) -> Path:
        """Returns the folder where digests of weight files are remembered."""
        return self.path / ".memo"

    @property
    def staging(self) -> Path:
        """Returns the folder where segments are written before they are renamed into place."""
        return self.path / ".tmp"

    def peek(self, fingerprint: ReferenceFingerprint) -> Reference | None:
        """Opens the entries of one reference, None if the store has none of it. Makes nothing."""
        return self._view(fingerprint) if self._folder(fingerprint).exists() else None

    def reference(self, fingerprint: ReferenceFingerprint) -> Reference:
        """Opens the entries of one reference, which is made if the store has none of it yet."""
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
        return Reference(folder, self.staging, fingerprint.sha256, find_tolerance(fingerprint.identity))

    def mend(self, fingerprint: ReferenceFingerprint, segment: str) -> bool:
        """Puts a whole copy in the place of a damaged segment, and says whether it did: only a shared cache has one."""
        return False

    def withdraw(self, fingerprint: ReferenceFingerprint, segment: str) -> None:
        """Takes a segment out of the object store, if this is the mirror of one."""

    def leftovers(self, older_than_s: float) -> list[Path]:
        """Lists what killed writers left in the staging folder: all that has not changed for so many seconds."""
        return [each for each in children(self.staging) if time.time() - _find_last_change(each) > older_than_s]

    def sweep_staging(self, older_than_s: float) -> list[Path]:
        """Removes `leftovers`, and returns their paths.

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
        """Describes every reference in the store; opens every segment for it."""
        return [self._describe(folder) for folder in children(self.path / "refs") if folder.is_dir()]

    def _describe(self, folder: Path) -> ReferenceInfo:
        try:
            attributes = _read_attributes(folder / "zarr.json")
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
    """Lists what lies in `folder`, in order; nothing where there is none, or another process is deleting it."""
    try:
        return [folder / name for name in sorted(os.listdir(folder))]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _find_last_change(folder: Path) -> float:
    """Finds the latest mtime in the tree at `folder`; the present time, for one that vanishes meanwhile."""
    try:
        return max(each.stat().st_mtime for each in (folder, *folder.rglob("*")))
    except OSError:
        return time.time()


def _read_attributes(marker: Path) -> dict[str, Any]:
    """Reads the attributes of the zarr group whose `zarr.json` is at `marker`. Raises `NotACache`."""
    try:
        attributes: dict[str, Any] = json.loads(marker.read_bytes())["attributes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise_if_unreadable(error)
        raise NotACache(
            f"{marker} cannot be read ({error}); restore it from a backup or move the folder away"
        ) from None
    return attributes


def _publish_group(folder: Path, attributes: Mapping[str, Any], staging: Path) -> None:
    """Makes `folder` a zarr group with `attributes`: written in `staging`, then `zarr.json` renamed into place."""
    import zarr  # as in prefd.cache.segments.layout

    staged = staging / uuid.uuid4().hex
    try:
        zarr.create_group(staged, attributes=dict(attributes), zarr_format=3)
        folder.mkdir(parents=True, exist_ok=True)
        flush(staged / "zarr.json")
        (staged / "zarr.json").replace(folder / "zarr.json")  # writers that race here write the same bytes
        flush(folder)
        flush(folder.parent)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
