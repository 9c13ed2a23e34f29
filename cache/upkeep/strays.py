"""Finds what lies in a store and belongs to no entry: strange files, unfinished writes, quarantine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prefd.cache import claims
from prefd.cache.segments.ids import is_id
from prefd.cache.store import ReferenceCache, children
from prefd.cache.upkeep import pruned_notes
from prefd.cache.upkeep.aside import age_of, files_under, size_of
from prefd.cache.upkeep.stored_reference import FINGERPRINT, files_of_a_segment

Kind = Literal["strange", "unfinished", "quarantined"]
IN_CACHE = {"zarr.json", "refs", ".tmp", ".memo"}
IN_REFERENCE = {"zarr.json", "segments", "quarantine", pruned_notes.FOLDER, claims.FOLDER}


@dataclass(frozen=True)
class Stray:
    """Stray is a file or folder that belongs to no entry."""

    path: str
    """Relative to the store."""
    kind: Kind
    """`unfinished` is one in the staging folder, of a writer that was killed or that writes now."""
    bytes: int
    age_s: float


def find_strays(cache: ReferenceCache) -> list[Stray]:
    """Finds every stray of a store, in order of path."""
    return [
        Stray(str(path.relative_to(cache.path)), kind, size_of(path), age_of(path))
        for path, kind in sorted(_walk_store(cache))
        if path.exists()
    ]


def _walk_store(cache: ReferenceCache) -> Iterator[tuple[Path, Kind]]:
    for path in _list_others(cache.path, IN_CACHE):
        yield path, "strange"
    for path in children(cache.staging):
        yield path, "unfinished"
    for reference in children(cache.path / "refs"):
        if not FINGERPRINT.fullmatch(reference.name) or not reference.is_dir():
            yield reference, "strange"
            continue
        yield from _walk_reference(reference)


def _walk_reference(reference: Path) -> Iterator[tuple[Path, Kind]]:
    for path in _list_others(reference, IN_REFERENCE):
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


def _list_others(folder: Path, names: set[str]) -> list[Path]:
    return [path for path in children(folder) if path.name not in names]
