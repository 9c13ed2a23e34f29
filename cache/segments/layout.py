"""Says where the files of a segment lie in its folder, and writes the zarr metadata among them.

zarr-python makes each metadata document once per process, in memory, and a segment's shapes are filled in: the result
is what zarr would have written, without the 70 ms that its store layer takes for five arrays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

CHECKSUM_BYTES = 4  # the crc32c codec puts them behind a chunk
ARRAYS: dict[str, tuple[str, float]] = {
    "key": ("uint8", 0),
    "offset": ("int64", -1),
    "sum": ("float64", np.nan),
    "crc": ("uint32", 0),
    "logprob": ("float32", np.nan),
}
"""Array → its dtype and fill value."""


def chunk_path(segment: Path, array: str) -> Path:
    """Returns the path of the file of an array's only chunk."""
    return segment / ("key/c/0/0" if array == "key" else f"{array}/c/0")


def document_path(segment: Path, array: str) -> Path:
    """Returns the path of the file of an array's metadata."""
    return segment / f"{array}/zarr.json"


def shape_of(array: str, entries: int, tokens: int) -> tuple[int, ...]:
    """Returns the shape of an array in a segment of so many entries and tokens."""
    return {"key": (entries, 32), "offset": (entries + 1,), "logprob": (tokens,)}.get(array, (entries,))


def array_document(array: str, shape: tuple[int, ...]) -> bytes:
    """Writes the `zarr.json` of one array, whose only chunk has its shape."""
    document = json.loads(_templates()[array])
    document["shape"] = shape
    document["chunk_grid"]["configuration"]["chunk_shape"] = shape
    return json.dumps(document, indent=2).encode()


def group_document(attributes: Mapping[str, Any]) -> bytes:
    """Writes the `zarr.json` of a segment, with the checksum of all of it among its attributes."""
    document = json.loads(_templates()[""]) | {"attributes": dict(attributes)}
    document["attributes"]["crc32c"] = document_crc(document)
    return json.dumps(document, indent=2).encode()


def document_crc(document: Mapping[str, Any]) -> int:
    """Computes the crc32c of `document` as canonical JSON, without the attribute that holds it."""
    attributes = {name: value for name, value in document["attributes"].items() if name != "crc32c"}
    canonical = json.dumps(dict(document) | {"attributes": attributes}, sort_keys=True, separators=(",", ":"))
    return int(google_crc32c.value(canonical.encode()))


@cache
def _templates() -> dict[str, bytes]:
    """Makes, for each array, its `zarr.json` for another shape; under "" the group's."""
    import zarr  # not with this module: it takes a tenth of a second, and a process that only reads a segment does without it
    from zarr.codecs import BytesCodec, Crc32cCodec
    from zarr.storage import MemoryStore

    documents: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(documents), zarr_format=3)
    for name, (dtype, fill) in ARRAYS.items():
        shape = shape_of(name, 1, 1)
        group.create_array(
            name,
            shape=shape,
            chunks=shape,
            dtype=dtype,
            fill_value=fill,
            serializer=BytesCodec(endian="little" if np.dtype(dtype).itemsize > 1 else None),
            compressors=[Crc32cCodec()],
        )
    return {path.removesuffix("zarr.json").rstrip("/"): documents[path].to_bytes() for path in documents}
