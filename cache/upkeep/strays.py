"""What lies in a store and belongs to no entry: strange files, unfinished writes, quarantine. None of it is ever read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prefd.cache.segments.ids import is_id
from prefd.cache.store import ReferenceCache, children
from prefd.cache.upkeep import pruned_notes
from prefd.cache.upkeep.stored_reference import FINGERPRINT, age_of, files_of_a_segment, files_under, size_of

Kind = Literal["strange", "unfinished", "quarantined"]
IN_CACHE = {"zarr.json", "refs", ".tmp", ".memo"}
IN_REFERENCE = {"zarr.json", "segments", "quarantine", pruned_notes.FOLDER}


@dataclass(frozen=True)
class Stray:
    path: str
    """Relative to the store."""
    kind: Kind
    """`unfinished` is what a writer that was killed, or one that writes now, has in the staging folder."""
    bytes: int
    age_s: float


def strays(cache: ReferenceCache) -> list[Stray]:
    return [
        Stray(str(path.relative_to(cache.path)), kind, size_of(path), age_of(path))
        for path, kind in sorted(_found(cache))
        if path.exists()
    ]


def _found(cache: ReferenceCache) -> Iterator[tuple[Path, Kind]]:
    for path in _not_in(cache.path, IN_CACHE):
        yield path, "strange"
    for path in children(cache.staging):
        yield path, "unfinished"
    for reference in children(cache.path / "refs"):
        if not FINGERPRINT.fullmatch(reference.name) or not reference.is_dir():
            yield reference, "strange"
            continue
        yield from _found_in_reference(reference)


def _found_in_reference(reference: Path) -> Iterator[tuple[Path, Kind]]:
    for path in _not_in(reference, IN_REFERENCE):
        yield path, "strange"
    for path in children(reference / "quarantine"):
        yield path, "quarantined"
    for segment in children(reference / "segments"):
        if not is_id(segment.name) or not segment.is_dir():
            yield segment, "strange"
            continue
        expected = {segment / name for name in files_of_a_segment()}
        for path in files_under(segment):
            if path not in expected:
                yield path, "strange"


def _not_in(folder: Path, names: set[str]) -> list[Path]:
    return [path for path in children(folder) if path.name not in names]
