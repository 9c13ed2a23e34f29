"""`export` and `import_`: a reference's entries as one zip, to be scored on one machine and trained from on another.

    manifest.json                           what is in it, with the SHA-256 of every other file
    refs/<fingerprint>/segments/<ulid>/…    segments as they lie in the store: stock zarr opens them once unpacked

Members are stored, not deflated: log-probabilities compress by about a fifth, and what is stored cannot be a bomb: no
member can unpack to more than the zip holds. An import believes nothing: it unpacks only files that a segment has, into
the staging folder, checks every value, and writes what is missing here as segments of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.layout import ARRAYS, chunk_path
from prefd.cache.reference import InvalidLogprobs, Reference, check_logprobs
from prefd.cache.segment import DamagedEntry, DamagedSegment, Segment, flush, open_segment
from prefd.cache.store import ReferenceCache
from prefd.cache.stored import FINGERPRINT, ULID_NAME, Entries, whole_references

FORMAT = {"format": "prefd-cache-export", "version": 1}
MANIFEST = "manifest.json"
MAX_MANIFEST = 64 * 2**20
CHUNK = 2**20
BATCH_BYTES = 128 * 2**20
STORED_AT = (1980, 1, 1, 0, 0, 0)  # zip's own zero: the same segments give the same zip


class BadExport(ValueError):
    """A zip that is not a whole export. Nothing of it has been imported."""


@dataclass
class ExportReport:
    references: list[str] = field(default_factory=list)
    segments: int = 0
    entries: int = 0
    bytes: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    """Segment → why: its damage. The store should be repaired, and exported again."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class ImportReport:
    references: list[str] = field(default_factory=list)
    segments: int = 0
    """In the zip."""
    entries: int = 0
    added: int = 0
    """Entries that were missing here."""
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"present": self.entries - self.added}


def export(cache: ReferenceCache, out: Path, fingerprints: Sequence[str] | None = None) -> ExportReport:
    """Write the live segments of the references named `fingerprints` (None: of all) to a zip at `out`.

    Every value is checked on the way. The zip is written beside `out` and renamed. Raises OSError.
    """
    report = ExportReport()
    manifest: dict[str, Any] = FORMAT | {"references": []}
    beside = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with beside.open("xb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                for reference in whole_references(cache):
                    if fingerprints is not None and reference.name not in fingerprints:
                        continue
                    survey = reference.survey()
                    report.left_out |= survey.damaged
                    segments = {}
                    for segment in survey.live:
                        try:
                            segment.check_logprobs()
                        except DamagedSegment as error:
                            report.left_out[segment.id] = str(error)
                            continue
                        segments[segment.id] = _add(archive, cache.path, segment)
                        report.segments += 1
                        report.entries += segment.entries
                    report.references.append(reference.name)
                    manifest["references"].append(
                        {
                            "fingerprint": reference.name,
                            "identity": dict(reference.fingerprint.identity),
                            "provenance": dict(reference.fingerprint.provenance),
                            "segments": segments,
                        }
                    )
                archive.writestr(zipfile.ZipInfo(MANIFEST, STORED_AT), json.dumps(manifest, indent=1))
            file.flush()
            os.fsync(file.fileno())
        report.bytes = beside.stat().st_size
        beside.replace(out)
    finally:
        beside.unlink(missing_ok=True)
    flush(out.absolute().parent)
    return report


def _add(archive: zipfile.ZipFile, root: Path, segment: Segment) -> dict[str, str]:
    """Add a segment's files; path in the segment → SHA-256."""
    digests = {}
    for name in _files_of_a_segment():
        path = segment.path / name
        digest = hashlib.sha256()
        info = zipfile.ZipInfo(path.relative_to(root).as_posix(), STORED_AT)
        with path.open("rb") as source, archive.open(info, "w", force_zip64=True) as target:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                target.write(chunk)
        digests[name] = digest.hexdigest()
    return digests


def _files_of_a_segment() -> list[str]:
    arrays = [f"{name}/zarr.json" for name in ARRAYS]
    return ["zarr.json", *arrays, *(chunk_path(Path(), name).as_posix() for name in ARRAYS)]


def import_(cache: ReferenceCache, path: Path, *, dry_run: bool = False) -> ImportReport:
    """Add what the export at `path` has and `cache` has not.

    Everything is unpacked into the staging folder and checked before anything is committed. Raises `BadExport`: nothing
    has been changed then; and OSError when the disk refuses: what was committed by then is whole, and stays.
    """
    staging = cache.staging / f"import-{uuid.uuid4().hex}"
    report = ImportReport(dry_run=dry_run)
    try:
        with path.open("rb") as file:
            unpacked = list(_unpack(file, path, staging))
        commits = []
        for fingerprint, segments in unpacked:
            report.references.append(fingerprint.name)
            report.segments += len(segments)
            report.entries += sum(segment.entries for segment in segments)
            batches = list(_missing(cache.peek(fingerprint), segments))
            report.added += sum(map(len, batches))
            commits.append((fingerprint, batches))
        if not dry_run:
            for fingerprint, batches in commits:
                reference = cache.reference(fingerprint)
                for batch in batches:
                    reference.put(batch)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return report


def _missing(here: Reference | None, segments: Sequence[Segment]) -> Iterator[Entries]:
    """The entries of `segments` that `here` has not, each once, in batches of about a large segment's size."""
    seen: set[bytes] = set()
    batch: dict[bytes, npt.NDArray[np.float32]] = {}
    size = 0
    for segment in segments:
        keys = [row.tobytes() for row in segment.keys]
        missing = set(keys if here is None else here.missing(keys)) - seen
        batch |= {key: segment.read(row) for row, key in enumerate(keys) if key in missing}
        seen |= missing
        size += segment.bytes
        if size >= BATCH_BYTES:
            yield batch
            batch, size = {}, 0
    if batch:
        yield batch


def _unpack(file: BinaryIO, path: Path, staging: Path) -> Iterator[tuple[ReferenceFingerprint, list[Segment]]]:
    """Each reference of the zip with its segments, every value checked. Raises `BadExport`."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = _members(archive, os.fstat(file.fileno()).st_size)
            for reference in _manifest(archive, members):
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
            f"{path} is not a whole export ({type(error).__name__}: {error}); nothing was imported: copy it again"
        ) from error


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The zip's files by name. Raises `BadExport` for what an export has none of."""
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


def _manifest(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> list[dict[str, Any]]:
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
    """Unpack one segment and check it to the last value. Only names that a segment has are ever written."""
    assert FINGERPRINT.fullmatch(fingerprint.name)
    if not ULID_NAME.fullmatch(name):
        raise BadExport(f"{name!r} is no segment's name")
    folder = staging / fingerprint.name / name
    for file in _files_of_a_segment():
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
    segment.check_metadata()
    segment.check_logprobs()
    for row in range(segment.entries):
        check_logprobs(segment.keys[row].tobytes(), segment.read(row))
    return segment
