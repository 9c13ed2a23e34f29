"""One immutable segment: a folder of five zarr arrays that is written whole, renamed into place, and never changed.

    key (n, 32) uint8 sorted · offset (n+1,) int64 · sum (n,) float64 · crc (n,) uint32 · logprob (T,) float32

Written with zarr-python (anyone with zarr can read it), read by memory-mapping the chunk files, which is 100 times
faster for one entry. The manifest in the group's attributes holds each chunk's size and crc32c: zarr gives the fill
value for a missing chunk, so nothing is believed before it has been checked.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec

CHECKSUM_BYTES = 4  # what the crc32c codec puts behind a chunk
ARRAYS: dict[str, tuple[str, float]] = {
    "key": ("uint8", 0),
    "offset": ("int64", -1),
    "sum": ("float64", np.nan),
    "crc": ("uint32", 0),
    "logprob": ("float32", np.nan),
}


class DamagedSegment(Exception):
    """A segment that does not match its manifest. Its entries are missing until they are scored again."""


class DamagedEntry(Exception):
    """One entry whose bytes do not match its checksum. It is missing until it is scored again."""


def entry_crc(key: bytes, logprobs: npt.NDArray[np.float32]) -> int:
    """crc32c(key ‖ u32 length ‖ the float32 bytes): binds a value to its key."""
    crc = google_crc32c.value(key + struct.pack("<I", len(logprobs)))
    return int(google_crc32c.extend(crc, logprobs.tobytes()))


def chunk_path(segment: Path, array: str) -> Path:
    return segment / array / "c" / ("0/0" if array == "key" else "0")


def write_segment(
    folder: Path, entries: Mapping[bytes, npt.NDArray[np.float32]], identity_sha256: str, replaces: tuple[str, ...] = ()
) -> None:
    """Write `entries` (32-byte key → (length,) float32 nats) as a segment at `folder`, flushed to disk.

    The caller renames `folder` into place; until then no reader looks at it.
    """
    keys = sorted(entries)
    values = [np.ascontiguousarray(entries[key], dtype="<f4") for key in keys]
    arrays: dict[str, npt.NDArray[Any]] = {
        "key": np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), 32),
        "offset": np.cumsum([0, *(len(value) for value in values)], dtype=np.int64),
        "sum": np.array([value.sum(dtype=np.float64) for value in values]),
        "crc": np.array([entry_crc(key, value) for key, value in zip(keys, values)], dtype=np.uint32),
        "logprob": np.concatenate(values),
    }
    group = zarr.create_group(folder, zarr_format=3)
    for name, data in arrays.items():
        array = group.create_array(
            name,
            shape=data.shape,
            chunks=data.shape,
            dtype=data.dtype,
            fill_value=ARRAYS[name][1],
            serializer=BytesCodec(endian="little") if data.itemsize > 1 else BytesCodec(endian=None),
            compressors=[Crc32cCodec()],
        )
        array[...] = data
    group.attrs.update(
        {
            "complete": True,
            "entries": len(keys),
            "tokens": len(arrays["logprob"]),
            "identity_sha256": identity_sha256,
            "replaces": list(replaces),
            "manifest": {name: _measure(chunk_path(folder, name)) for name in arrays},
        }
    )
    _flush_tree(folder)


def _measure(chunk: Path) -> list[int]:
    """[bytes of the file, crc32c of the values]. Not of the whole file: a crc over data and its own crc is a constant."""
    data = chunk.read_bytes()
    return [len(data), int(google_crc32c.value(data[:-CHECKSUM_BYTES]))]


def _flush_tree(folder: Path) -> None:
    for parent, _, files in os.walk(folder):
        for name in files:
            flush(Path(parent) / name)
        flush(Path(parent))


def flush(path: Path) -> None:
    """fsync a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, eq=False)
class Segment:
    """An open segment. The arrays are read-only memory maps, checked against the manifest except `logprob`, whose
    entries are checked one by one as they are read.
    """

    path: Path
    keys: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    sums: npt.NDArray[np.float64]
    crcs: npt.NDArray[np.uint32]
    logprobs: npt.NDArray[np.float32]
    bytes: int

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def entries(self) -> int:
        return len(self.keys)

    @property
    def tokens(self) -> int:
        return len(self.logprobs)

    def read(self, row: int) -> npt.NDArray[np.float32]:
        """(length,) per-token log-probabilities of one entry, a view of the map. Raises `DamagedEntry`."""
        begin, end = int(self.offsets[row]), int(self.offsets[row + 1])
        value = self.logprobs[begin:end]
        if entry_crc(self.keys[row].tobytes(), value) != int(self.crcs[row]):
            raise DamagedEntry(f"{self.path}: entry {row} (tokens {begin} to {end}) does not match its checksum")
        return value


def open_segment(path: Path, identity_sha256: str) -> Segment:
    """Map the segment at `path`. Raises `DamagedSegment` with the reason when any part does not match the manifest."""
    try:
        attributes = json.loads((path / "zarr.json").read_bytes())["attributes"]
        manifest, entries, tokens = attributes["manifest"], attributes["entries"], attributes["tokens"]
        if attributes["complete"] is not True or attributes["identity_sha256"] != identity_sha256:
            raise DamagedSegment(f"{path}: zarr.json names another reference, or an unfinished segment")
        shapes = {"key": (entries, 32), "offset": (entries + 1,), "logprob": (tokens,)}
        maps = {name: _map(path, name, shapes.get(name, (entries,)), manifest[name]) for name in ARRAYS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedSegment(f"{path}: {type(error).__name__}: {error}") from error
    segment = Segment(
        path,
        maps["key"],
        maps["offset"],
        maps["sum"],
        maps["crc"],
        maps["logprob"],
        sum(size for size, _ in manifest.values()),
    )
    if segment.offsets[0] != 0 or segment.offsets[-1] != tokens or (np.diff(segment.offsets) < 1).any():
        raise DamagedSegment(f"{path}: its offsets are not increasing from 0 to {tokens}")
    return segment


def _map(path: Path, name: str, shape: tuple[int, ...], measured: list[int]) -> npt.NDArray[Any]:
    chunk = chunk_path(path, name)
    dtype = np.dtype(ARRAYS[name][0]).newbyteorder("<")
    size, crc = measured
    if chunk.stat().st_size != size or size != int(np.prod(shape)) * dtype.itemsize + CHECKSUM_BYTES:
        raise DamagedSegment(f"{chunk} has {chunk.stat().st_size} bytes, its manifest says {size} for shape {shape}")
    whole = np.memmap(chunk, dtype=np.uint8, mode="r")
    values, checksum = whole[:-CHECKSUM_BYTES], whole[-CHECKSUM_BYTES:]
    if int(checksum.view("<u4")[0]) != crc or (name != "logprob" and google_crc32c.value(values.tobytes()) != crc):
        raise DamagedSegment(f"{chunk} does not match its checksum")
    mapped: npt.NDArray[Any] = values.view(dtype).reshape(shape)
    return mapped
