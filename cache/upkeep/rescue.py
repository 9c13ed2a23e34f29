"""What can be saved of a damaged segment: its entries that still match their own checksums.

An entry's crc binds its key, its length and its values, so an entry proves itself even where the manifest, the sums or
other entries are lost. What is saved goes into a new segment first; only then the damaged one goes to quarantine.
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
from prefd.cache.segments.segment import DamagedEntry, Segment, entry_crc
from prefd.cache.segments.values import InvalidLogprobs, check_logprobs
from prefd.cache.store import ReferenceCache
from prefd.cache.upkeep.stored_reference import StoredReference


@dataclass(frozen=True)
class Remains:
    """What a damaged segment held, as far as it can be told, and what of it is whole."""

    held: int | None
    """Entries it was written with; None where nothing says how many."""
    whole: dict[bytes, npt.NDArray[np.float32]]
    keys: set[bytes]
    """As they can be read, some of them wrong perhaps."""


def examine(folder: Path) -> Remains:
    """Read the segment folder at `folder` without believing any of it. Raises `NotPermitted`: it would count as lost."""
    keys = _raw(folder, "key").reshape(-1, 32)
    offsets, crcs, values = (_raw(folder, name) for name in ("offset", "crc", "logprob"))
    rows = min(len(keys), len(offsets) - 1, len(crcs))
    whole = {}
    for row in range(rows):
        begin, end = int(offsets[row]), int(offsets[row + 1])
        if not 0 <= begin < end <= len(values):
            continue
        key, value = keys[row].tobytes(), np.ascontiguousarray(values[begin:end])
        if entry_crc(key, value) != int(crcs[row]):
            continue
        try:
            check_logprobs(key, value)
        except InvalidLogprobs:
            continue
        whole[key] = value
    return Remains(_recorded_entries(folder) or len(keys) or None, whole, {key.tobytes() for key in keys})


def _raw(folder: Path, array: str) -> npt.NDArray[Any]:
    """All whole elements of a chunk file, its checksum not looked at; none where the file cannot be read."""
    dtype = np.dtype(ARRAYS[array][0]).newbyteorder("<")
    width = 32 if array == "key" else dtype.itemsize
    try:
        data = chunk_path(folder, array).read_bytes()
    except OSError as error:
        raise_if_unreadable(error)
        data = b""
    return np.frombuffer(data[: len(data) // width * width], dtype=dtype)


def _recorded_entries(folder: Path) -> int | None:
    try:
        entries = json.loads((folder / "zarr.json").read_bytes())["attributes"]["entries"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise_if_unreadable(error)
        return None
    return entries if isinstance(entries, int) and entries > 0 else None


def rescue(reference: StoredReference, name: str, without: Collection[bytes] = ()) -> int:
    """Commit what is whole in segment `name` and nowhere else, then quarantine it. Returns the entries saved.

    `without`: keys whose values are known to be wrong. A crash in between leaves both segments, which hold the same.
    """
    folder = reference.segments / name
    whole = {key: value for key, value in examine(folder).whole.items() if key not in without}
    elsewhere = held_whole([segment for segment in reference.survey().live if segment.id != name], whole)
    whole = {key: value for key, value in whole.items() if key not in elsewhere}
    if whole:
        reference.publish(reference.stage(whole, new_id()))
    reference.move_to_quarantine(name)
    return len(whole)


def evict(cache: ReferenceCache, reference: StoredReference, keys: Collection[bytes]) -> list[str]:
    """Take entries with wrong values out of the store: quarantine every segment that serves one, less the rest of it.

    Of a shared cache it leaves the object store first, or it would come back; raises `StoreTrouble` where it cannot.
    A segment is never changed, and a right value put later would lose to the wrong one's lower id. Returns the ids.
    """
    gone: list[str] = []
    while True:  # what a quarantined segment had replaced serves again, and may hold the wrong value too
        index = Index().extended(reference.survey().live)
        serving = {segment.id for places in index.find(list(keys)) for segment, _ in places}
        if not serving:
            return gone
        for name in sorted(serving):
            cache.withdraw(reference.fingerprint, name)
            rescue(reference, name, without=keys)
            gone.append(name)


def held_whole(segments: Sequence[Segment], keys: Collection[bytes]) -> set[bytes]:
    """Those of `keys` for which one of `segments` has an entry that matches its checksum."""
    asked = list(keys)
    found = Index().extended(segments).find(asked) if asked else iter(())
    return {key for key, places in zip(asked, found) if any(is_whole(*place) for place in places)}


def is_whole(segment: Segment, row: int) -> bool:
    try:
        segment.read(row)
    except DamagedEntry:
        return False
    return True
