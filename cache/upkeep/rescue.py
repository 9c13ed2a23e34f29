"""Saves what can be saved of a damaged segment: the entries that still match their own checksums.

An entry's crc binds its key, its length and its values, so an entry proves itself even where the manifest, the sums or
other entries are lost. They are committed as a new segment first; only then the damaged one goes to quarantine.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from prefd.cache.index import Index
from prefd.cache.segments.ids import new_id
from prefd.cache.segments.layout import ARRAYS, chunk_path
from prefd.cache.segments.read_errors import raise_if_unreadable
from prefd.cache.segments.segment import DamagedEntry, Segment, compute_entry_crc
from prefd.cache.segments.values import InvalidLogprobs, check_logprobs
from prefd.cache.store import ReferenceCache
from prefd.cache.upkeep.stored_reference import StoredReference


@dataclass(frozen=True)
class Remains:
    """Remains holds the entries of a damaged segment that are whole, and how many it had, as far as its files tell."""

    entries: int | None
    """How many it was written with; None where nothing says it."""
    whole_entries: dict[bytes, npt.NDArray[np.float32]]
    keys: set[bytes]
    """All that can be read, some of them wrong perhaps."""


def examine(folder: Path) -> Remains:
    """Reads the segment folder at `folder` without believing any of it. Raises `NotPermitted`."""
    keys = _read_array(folder, "key").reshape(-1, 32)
    offsets, crcs, values = (_read_array(folder, name) for name in ("offset", "crc", "logprob"))
    rows = min(len(keys), len(offsets) - 1, len(crcs))
    whole_entries = {}
    for row in range(rows):
        begin, end = int(offsets[row]), int(offsets[row + 1])
        if not 0 <= begin < end <= len(values):
            continue
        key, value = keys[row].tobytes(), np.ascontiguousarray(values[begin:end])
        if compute_entry_crc(key, value) != int(crcs[row]):
            continue
        try:
            check_logprobs(key, value)
        except InvalidLogprobs:
            continue
        whole_entries[key] = value
    return Remains(_read_entry_count(folder) or len(keys) or None, whole_entries, {key.tobytes() for key in keys})


def _read_array(folder: Path, array: str) -> npt.NDArray[Any]:
    """Reads all whole elements of a chunk file, without its checksum; none where the file cannot be read."""
    dtype = np.dtype(ARRAYS[array][0]).newbyteorder("<")
    width = 32 if array == "key" else dtype.itemsize
    try:
        data = chunk_path(folder, array).read_bytes()
    except OSError as error:
        raise_if_unreadable(error)
        data = b""
    return np.frombuffer(data[: len(data) // width * width], dtype=dtype)


def _read_entry_count(folder: Path) -> int | None:
    """Reads from a segment's attributes how many entries it has; None where they do not say it."""
    try:
        entries = json.loads((folder / "zarr.json").read_bytes())["attributes"]["entries"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise_if_unreadable(error)
        return None
    return entries if isinstance(entries, int) and entries > 0 else None


def rescue(reference: StoredReference, name: str, without: Collection[bytes] = ()) -> int:
    """Commits the whole entries of segment `name` that no other has, then quarantines it. Returns how many were saved.

    The values of the keys `without` are known to be wrong, and are left out. A crash in between leaves both segments,
    which hold the same.
    """
    folder = reference.segments / name
    whole_entries = {key: value for key, value in examine(folder).whole_entries.items() if key not in without}
    elsewhere = find_whole_keys([segment for segment in reference.survey().live if segment.id != name], whole_entries)
    whole_entries = {key: value for key, value in whole_entries.items() if key not in elsewhere}
    if whole_entries:
        reference.publish(reference.stage(whole_entries, new_id()))
    reference.move_to_quarantine(name)
    return len(whole_entries)


def evict(cache: ReferenceCache, reference: StoredReference, keys: Collection[bytes]) -> list[str]:
    """Takes wrong values out of the store: quarantines every segment that serves one, and saves its other entries.

    A shared segment leaves the object store first, or it would come back; raises `StoreTrouble` where it cannot.
    A segment is never changed, and a right value put later would lose to the wrong one's lower id. Returns the ids.
    """
    evicted_ids: list[str] = []
    while True:  # what a quarantined segment had replaced serves again, and may hold the wrong value too
        index = Index().with_segments(reference.survey().live)
        serving = {segment.id for places in index.find(list(keys)) for segment, _ in places}
        if not serving:
            return evicted_ids
        for name in sorted(serving):
            cache.withdraw(reference.fingerprint, name)
            rescue(reference, name, without=keys)
            evicted_ids.append(name)


def find_whole_keys(segments: Sequence[Segment], keys: Collection[bytes]) -> set[bytes]:
    """Finds those of `keys` for which one of `segments` has an entry that matches its checksum."""
    key_list = list(keys)
    places_by_key = Index().with_segments(segments).find(key_list) if key_list else iter(())
    return {key for key, places in zip(key_list, places_by_key) if any(is_whole(*entry) for entry in places)}


def is_whole(segment: Segment, row: int) -> bool:
    """Says whether the entry in `row` matches its checksum."""
    try:
        segment.read(row)
    except DamagedEntry:
        return False
    return True
