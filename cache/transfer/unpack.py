"""Unpacks an export without believing any of it: the zip may come from anyone.

Only files that a segment has are unpacked, under names made here and into the staging folder; none is larger than it
says, no value is unchecked, and a zip with anything else in it is a bad one.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from prefd.cache.errors import CacheError
from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.segments.ids import is_id
from prefd.cache.segments.segment import DamagedEntry, DamagedSegment, Segment, open_segment
from prefd.cache.segments.values import InvalidLogprobs, check_logprobs
from prefd.cache.upkeep.stored_reference import files_of_a_segment
from prefd.plugins.errors import describe_exception

FORMAT = {"format": "prefd-cache-export", "version": 1}
MANIFEST = "manifest.json"
MAX_MANIFEST = 64 * 2**20
CHUNK = 2**20


class BadExport(CacheError, ValueError):
    """BadExport is raised for a zip that is not a whole export. Nothing of it has been imported."""


def unpack(file: BinaryIO, path: Path, staging: Path) -> Iterator[tuple[ReferenceFingerprint, list[Segment]]]:
    """Unpacks each reference of the zip with its segments, every value checked. Raises `BadExport`."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = _list_members(archive, os.fstat(file.fileno()).st_size)
            for reference in _read_manifest(archive, members):
                fingerprint = ReferenceFingerprint(reference["identity"], reference["provenance"])
                if reference["fingerprint"] != fingerprint.name:
                    raise BadExport(f"reference {reference['fingerprint']} has the identity of {fingerprint.name}")
                yield (
                    fingerprint,
                    [
                        _unpack_segment(archive, members, fingerprint, name, digests, staging)
                        for name, digests in reference["segments"].items()
                    ],
                )
            if members:
                raise BadExport(f"its manifest does not name {min(members)!r}")
    except (BadExport, zipfile.BadZipFile, DamagedSegment, DamagedEntry, InvalidLogprobs) as error:
        raise BadExport(f"{path} is not a whole export ({error}); nothing was imported: copy it again") from error
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError, NotImplementedError, EOFError) as error:
        raise BadExport(
            f"{path} is not a whole export ({describe_exception(error)}); nothing was imported: copy it again"
        ) from error


def _list_members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Lists the zip's files by name. Raises `BadExport` for a kind that no export has."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        mode = info.external_attr >> 16
        if info.is_dir() or (stat.S_IFMT(mode) and not stat.S_ISREG(mode)):
            raise BadExport(f"{info.filename!r} is not a plain file")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
            raise BadExport(f"{info.filename!r} is compressed or encrypted")
        if info.filename in members:
            raise BadExport(f"{info.filename!r} is in it twice")
        members[info.filename] = info
    if sum(info.file_size for info in members.values()) > size:
        raise BadExport("its files claim to be larger than it is")
    return members


def _read_manifest(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> list[dict[str, Any]]:
    """Reads the references that the manifest lists, and takes it off `members`. Raises `BadExport`."""
    info = members.pop(MANIFEST, None)
    if info is None or info.file_size > MAX_MANIFEST:
        raise BadExport(f"it has no {MANIFEST}")
    manifest = json.loads(archive.read(info))
    if manifest["format"] != FORMAT["format"]:
        raise BadExport(f"its {MANIFEST} is of another format, {manifest['format']!r}")
    if manifest["version"] != FORMAT["version"]:
        raise BadExport(f"it has version {manifest['version']!r}, and this prefd reads {FORMAT['version']}")
    references: list[dict[str, Any]] = manifest["references"]
    return references


def _unpack_segment(
    archive: zipfile.ZipFile,
    members: dict[str, zipfile.ZipInfo],
    fingerprint: ReferenceFingerprint,
    name: str,
    digests: dict[str, str],
    staging: Path,
) -> Segment:
    """Unpacks one segment and checks it to the last value. Only names that a segment has are ever written."""
    if not is_id(name):
        raise BadExport(f"{name!r} is no segment's name")
    folder = staging / fingerprint.name / name
    for file in files_of_a_segment():
        member = members.pop(f"refs/{fingerprint.name}/segments/{name}/{file}", None)
        if member is None:
            raise BadExport(f"{file} of segment {name} is missing")
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with archive.open(member) as source, (folder / file).open("xb") as target:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                target.write(chunk)
        if digest.hexdigest() != digests[file]:
            raise BadExport(f"{file} of segment {name} does not match its SHA-256")
    segment = open_segment(folder, fingerprint.sha256)
    segment.check_logprobs()
    for row in range(segment.entries):
        check_logprobs(segment.keys[row].tobytes(), segment.read(row))
    return segment
