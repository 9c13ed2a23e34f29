"""Writes and opens segments: folders of five zarr arrays that are written whole, renamed into place, and never changed.

    key (n, 32) uint8 sorted · offset (n+1,) int64 · sum (n,) float64 · crc (n,) uint32 · logprob (T,) float32

Anyone with zarr can read it; here the chunk files are memory-mapped, which is 100 times faster for one entry. The
manifest in the group's attributes holds each chunk's size and crc32c: zarr gives the fill value for a missing chunk, so
nothing is believed before it has been checked. `open_segment` checks every file, those that only stock zarr reads too,
so that no reader sees other numbers than this one; but of `logprob` only its size and recorded checksum: its values
are checked entry by entry (`read`) or all at once (`check_logprobs`).
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from prefd.cache.errors import CacheError
from prefd.cache.segments.durable import flush, flush_tree
from prefd.cache.segments.layout import (
    ARRAYS,
    CHECKSUM_BYTES,
    array_document,
    chunk_path,
    document_crc,
    document_path,
    group_document,
    shape_of,
)
from prefd.cache.segments.mapped_file import load_bytes
from prefd.cache.segments.read_errors import raise_if_unreadable
from prefd.cache.segments.values import flatten_entries
from prefd.plugins.errors import describe_exception

CRC_CHUNK = 2**20
Key = bytes  # 32 of them
LENGTH = struct.Struct("<I")


class DamagedSegment(CacheError):
    """DamagedSegment is raised for a segment that does not match its manifest. Its entries are missing until they are scored again."""


class DamagedEntry(Exception):
    """DamagedEntry is one entry whose bytes do not match its checksum. It is missing until it is scored again."""


def compute_entry_crc(key: bytes, logprobs: npt.NDArray[np.float32]) -> int:
    """Computes crc32c(key ‖ u32 length ‖ the float32 bytes), which binds a value to its key. `logprobs` is contiguous."""
    crc = google_crc32c.value(key + LENGTH.pack(len(logprobs)))
    return int(google_crc32c.extend(crc, logprobs))


def write_segment(
    folder: Path, entries: Mapping[bytes, npt.NDArray[np.float32]], identity_sha256: str, replaces: tuple[str, ...] = ()
) -> None:
    """Writes `entries` (32-byte key → (length,) float32 nats), at least one, as a segment at `folder`, flushed to disk.

    The caller renames `folder` into place; until then no reader looks at it. `replaces` names the segments that this
    one stands for from then on. Raises `InvalidLogprobs` before anything is written; OSError when the disk refuses: the
    caller removes what is left then.
    """
    keys, offsets, logprobs = flatten_entries(entries)
    with ThreadPoolExecutor(1) as pool:
        checksums = {"logprob": _write_array(folder, "logprob", logprobs)}
        flushing = pool.submit(flush, chunk_path(folder, "logprob"))  # the disk takes it while the others are computed
        bounds = pairwise(offsets.tolist())
        small_arrays: dict[str, npt.NDArray[Any]] = {
            "key": np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), 32),
            "offset": offsets,
            "crc": np.array(
                [compute_entry_crc(key, logprobs[begin:end]) for key, (begin, end) in zip(keys, bounds)], "<u4"
            ),
            "sum": np.add.reduceat(logprobs, offsets[:-1], dtype="<f8"),
        }
        checksums |= {name: _write_array(folder, name, data) for name, data in small_arrays.items()}
        attributes = {
            "complete": True,
            "entries": len(keys),
            "tokens": int(offsets[-1]),
            "identity_sha256": identity_sha256,
            "replaces": list(replaces),
            "manifest": {name: checksums[name][0] for name in ARRAYS},
            "metadata": {name: checksums[name][1] for name in ARRAYS},
        }
        (folder / "zarr.json").write_bytes(group_document(attributes))
        flush_tree(folder)
        flushing.result()


def _write_array(folder: Path, name: str, data: npt.NDArray[Any]) -> tuple[list[int], int]:
    """Writes one array; returns its entry in the manifest ([bytes of the chunk, crc32c]), and its metadata's crc32c."""
    crc = int(google_crc32c.value(data))
    chunk = chunk_path(folder, name)
    chunk.parent.mkdir(parents=True)
    with chunk.open("xb") as file:
        file.write(data.data)
        file.write(struct.pack("<I", crc))
    document = array_document(name, data.shape)
    document_path(folder, name).write_bytes(document)
    return [data.nbytes + CHECKSUM_BYTES, crc], int(google_crc32c.value(document))


@dataclass(frozen=True, eq=False)
class Segment:
    """Segment is an open segment. The arrays are read-only; all but `logprobs` have been checked against the manifest."""

    path: Path
    keys: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    sums: npt.NDArray[np.float64]
    crcs: npt.NDArray[np.uint32]
    logprobs: npt.NDArray[np.float32]
    bytes: int
    replaces: tuple[str, ...]
    """Ids of the segments whose entries this one holds; they are not read while it is whole."""
    manifest_crc: int
    """crc32c of all of `logprobs`, by the manifest."""
    metadata: Mapping[str, int]
    """Array → crc32c of its `zarr.json`."""

    @cached_property
    def id(self) -> str:
        """Returns the name of the segment's folder."""
        return self.path.name

    @property
    def entries(self) -> int:
        """Says how many completions it holds."""
        return len(self.keys)

    @property
    def tokens(self) -> int:
        """Says how many tokens they have together."""
        return len(self.logprobs)

    @cached_property
    def names(self) -> npt.NDArray[np.void]:
        """Returns the keys, (n,) V32, each as one value."""
        return self.keys.reshape(-1).view("V32")

    def key(self, row: int) -> Key:
        """Returns the key of the entry in `row`."""
        return self.names.item(row)  # type: ignore[return-value]  # numpy's stubs: not typed for void

    def read(self, row: int) -> npt.NDArray[np.float32]:
        """Reads one entry: its (length,) log-probabilities per token, a view of the map. Raises `DamagedEntry`."""
        begin, end = self.offsets.item(row), self.offsets.item(row + 1)
        return self.read_checked(self.key(row), begin, end, self.crcs.item(row))

    def read_checked(self, key: Key, begin: int, end: int, crc: int) -> npt.NDArray[np.float32]:
        """Reads `logprobs[begin:end]`, the entry of `key`, and compares its checksum. Raises `DamagedEntry`."""
        value = self.logprobs[begin:end]
        if compute_entry_crc(key, value) != crc:
            raise DamagedEntry(
                f"{self.path}: completion {key.hex()[:16]} (tokens {begin} to {end}) does not match its checksum"
            )
        return value

    def values(self) -> Iterator[npt.NDArray[np.float32]]:
        """Yields each entry's log-probabilities, in the order of `keys`, unchecked: for after `check_logprobs`."""
        for begin, end in pairwise(self.offsets.tolist()):
            yield self.logprobs[begin:end]

    def check_logprobs(self) -> None:
        """Checks all of `logprobs` at once, ten times faster than entry by entry. Raises `DamagedSegment`."""
        if _compute_crc(self.logprobs) != self.manifest_crc:
            raise DamagedSegment(f"{chunk_path(self.path, 'logprob')} does not match its checksum")

    def check_metadata(self) -> None:
        """Checks the arrays' `zarr.json` again, as `open_segment` has done. Raises `DamagedSegment`."""
        try:
            _check_metadata(self.path, self.metadata)
        except OSError as error:
            raise_if_unreadable(error)
            raise DamagedSegment(f"{self.path}: {error}") from error


def open_segment(path: Path, identity_sha256: str) -> Segment:
    """Maps the segment at `path`. Raises `DamagedSegment` with the reason when any part does not match the manifest.

    Raises FileNotFoundError when there is no folder at `path`, `NotPermitted`, and OSError for what is the machine's
    trouble and not the segment's: too many open files, no memory.
    """
    try:
        document = json.loads((path / "zarr.json").read_bytes())
        attributes = document["attributes"]
        if attributes["crc32c"] != document_crc(document):
            raise DamagedSegment(f"{path / 'zarr.json'} does not match its checksum")
        manifest, entries, tokens = attributes["manifest"], attributes["entries"], attributes["tokens"]
        if attributes["complete"] is not True or attributes["identity_sha256"] != identity_sha256:
            raise DamagedSegment(f"{path}: zarr.json names another reference, or an unfinished segment")
        _check_metadata(path, attributes["metadata"])
        arrays = {name: _load_array(path, name, shape_of(name, entries, tokens), manifest[name]) for name in ARRAYS}
        segment = Segment(
            path,
            arrays["key"],
            arrays["offset"],
            arrays["sum"],
            arrays["crc"],
            arrays["logprob"],
            sum(size for size, _ in manifest.values()),
            tuple(attributes["replaces"]),
            manifest["logprob"][1],
            attributes["metadata"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise_if_unreadable(error)
        if isinstance(error, OSError) and not os.path.lexists(path):
            raise
        raise DamagedSegment(f"{path}: {describe_exception(error)}") from error
    if segment.offsets[0] != 0 or segment.offsets[-1] != tokens or (np.diff(segment.offsets) < 1).any():
        raise DamagedSegment(f"{path}: its offsets are not increasing from 0 to {tokens}")
    return segment


def _check_metadata(path: Path, crcs: Mapping[str, int]) -> None:
    """Checks each array's `zarr.json`, which only stock zarr reads, against its crc32c. Raises OSError too."""
    for name in ARRAYS:
        document = document_path(path, name)
        if google_crc32c.value(load_bytes(document)) != crcs[name]:
            raise DamagedSegment(f"{document} does not match its checksum")


def _load_array(path: Path, name: str, shape: tuple[int, ...], manifest_entry: list[int]) -> npt.NDArray[Any]:
    """Maps one array and checks it against its manifest entry, `logprob` by size and recorded checksum only."""
    chunk = chunk_path(path, name)
    dtype = np.dtype(ARRAYS[name][0]).newbyteorder("<")
    size, crc = manifest_entry
    data = load_bytes(chunk)
    if len(data) != size or size != math.prod(shape) * dtype.itemsize + CHECKSUM_BYTES:
        raise DamagedSegment(f"{chunk} has {len(data)} bytes, its manifest says {size} for shape {shape}")
    values = data[:-CHECKSUM_BYTES]
    if data[-CHECKSUM_BYTES:].tobytes() != struct.pack("<I", crc) or (
        name != "logprob" and _compute_crc(values) != crc
    ):
        raise DamagedSegment(f"{chunk} does not match its checksum")
    array: npt.NDArray[Any] = values.view(dtype).reshape(shape)
    return array


def _compute_crc(values: npt.NDArray[Any]) -> int:
    """Computes the crc32c of a contiguous array, without a copy of it."""
    flat = values.reshape(-1).view(np.uint8)
    crc = 0
    for begin in range(0, len(flat), CRC_CHUNK):
        crc = google_crc32c.extend(crc, flat[begin : begin + CRC_CHUNK])
    return int(crc)
