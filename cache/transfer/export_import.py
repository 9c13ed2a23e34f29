"""Exports references as one zip, and imports it, so that one machine scores and another trains.

    manifest.json                           lists all of it, with the SHA-256 of every other file
    refs/<fingerprint>/segments/<ulid>/…    segments as they lie in the store: stock zarr opens them once unpacked

Members are stored, not deflated: log-probabilities compress by about a fifth, and what is stored cannot be a bomb: no
member can unpack to more than the zip holds. An import writes what is missing here as segments of its own.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from prefd.cache.reference import Reference
from prefd.cache.segments.durable import flush, whole_file
from prefd.cache.segments.segment import DamagedSegment, Segment
from prefd.cache.store import ReferenceCache
from prefd.cache.transfer.unpack import CHUNK, FORMAT, MANIFEST, unpack
from prefd.cache.upkeep.stored_reference import Entries, files_of_a_segment, whole_references

BATCH_BYTES = 128 * 2**20
STORED_AT = (1980, 1, 1, 0, 0, 0)  # zip's own zero: the same segments give the same zip


@dataclass
class ExportReport:
    """ExportReport says what `export` has written."""

    references: list[str] = field(default_factory=list)
    segments: int = 0
    entries: int = 0
    bytes: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    """Segment → its damage. The store should be repaired, and exported again."""

    def to_json(self) -> dict[str, Any]:
        """Returns the report as `prefd cache export --json` prints it."""
        return asdict(self)


@dataclass
class ImportReport:
    """ImportReport says what `import_` has found in a zip, and added."""

    references: list[str] = field(default_factory=list)
    segments: int = 0
    """How many the zip has."""
    entries: int = 0
    added: int = 0
    """How many entries were missing here."""
    dry_run: bool = False

    def to_json(self) -> dict[str, Any]:
        """Returns the report as `prefd cache import --json` prints it."""
        return asdict(self) | {"present": self.entries - self.added}


def export(cache: ReferenceCache, out: Path, fingerprints: Sequence[str] | None = None) -> ExportReport:
    """Writes the live segments of the references named `fingerprints` (None: of all) to a zip at `out`.

    Every value is checked on the way. The zip is written beside `out` and renamed. Raises OSError.
    """
    report = ExportReport()
    manifest: dict[str, Any] = FORMAT | {"references": []}
    partial = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.partial")
    with whole_file(out, partial) as file:
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
                    segments[segment.id] = _add_segment(archive, cache.path, segment)
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
        report.bytes = file.tell()
    flush(out.absolute().parent)
    return report


def _add_segment(archive: zipfile.ZipFile, root: Path, segment: Segment) -> dict[str, str]:
    """Adds a segment's files to the zip. Returns the SHA-256 of each, by its path in the segment."""
    digests = {}
    for name in files_of_a_segment():
        path = segment.path / name
        digest = hashlib.sha256()
        info = zipfile.ZipInfo(path.relative_to(root).as_posix(), STORED_AT)
        with path.open("rb") as source, archive.open(info, "w", force_zip64=True) as target:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                target.write(chunk)
        digests[name] = digest.hexdigest()
    return digests


def import_(cache: ReferenceCache, path: Path, *, dry_run: bool = False) -> ImportReport:
    """Adds the entries that the export at `path` has and `cache` has not.

    Everything is unpacked into the staging folder and checked before anything is committed. Raises `BadExport`: nothing
    has been changed then; and OSError when the disk refuses: what was committed by then is whole, and stays.
    """
    staging = cache.staging / f"import-{uuid.uuid4().hex}"
    report = ImportReport(dry_run=dry_run)
    try:
        with path.open("rb") as file:
            unpacked = list(unpack(file, path, staging))
        commits = []
        for fingerprint, segments in unpacked:
            report.references.append(fingerprint.name)
            report.segments += len(segments)
            report.entries += sum(segment.entries for segment in segments)
            batches = list(_batch_missing(cache.peek(fingerprint), segments))
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


def _batch_missing(reference: Reference | None, segments: Sequence[Segment]) -> Iterator[Entries]:
    """Yields the entries of `segments` that `reference` has not, each once, in batches as large as a large segment."""
    yielded_keys: set[bytes] = set()
    batch: dict[bytes, npt.NDArray[np.float32]] = {}
    size = 0
    for segment in segments:
        keys = [row.tobytes() for row in segment.keys]
        missing = set(keys if reference is None else reference.missing(keys)) - yielded_keys
        batch |= {key: segment.read(row) for row, key in enumerate(keys) if key in missing}
        yielded_keys |= missing
        size += segment.bytes
        if size >= BATCH_BYTES:
            yield batch
            batch, size = {}, 0
    if batch:
        yield batch
