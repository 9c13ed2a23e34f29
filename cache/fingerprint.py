"""ReferenceFingerprint: who the reference is, by everything that changes a number it gives.

Weights are identified by content (tensor names, dtypes, shapes, bytes), so the same model under another path or in
other shards is the same reference. Costs: one SHA-256 over the weights (about 1 GB/s), remembered per file by path,
size, mtime and inode.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from prefd.cache.errors import CacheError
from prefd.cache.segments.durable import whole_file

KEY_SCHEMA = "prefd-key/1"
HASH_CHUNK = 16 * 2**20
MAX_HEADER = 256 * 2**20
VOLATILE_CONFIG = {"_name_or_path", "transformers_version", "architectures"}
"""Settings of a model's config.json that change with who saved it, and no number."""


class BadWeights(CacheError, ValueError):
    """A weight file that is not whole safetensors. For whoever made or copied the model: names the file."""


def digest_json(value: Any) -> str:
    """SHA-256 of `value` as canonical JSON (sorted keys, no spaces)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def digest_config(config: Mapping[str, Any]) -> str:
    """A model's config.json as an identity has it."""
    return digest_json({name: value for name, value in config.items() if name not in VOLATILE_CONFIG})


@dataclass(frozen=True)
class ReferenceFingerprint:
    """`identity` decides which numbers are meant; `provenance` says where they came from and decides nothing."""

    identity: Mapping[str, Any]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def sha256(self) -> str:
        return digest_json({"key_schema": KEY_SCHEMA} | dict(self.identity))

    @property
    def name(self) -> str:
        """The reference's folder in the cache."""
        return self.sha256[:32]

    def key(self, ids: npt.NDArray[np.uint32], completion_start: int) -> bytes:
        """The 32-byte key of one completion: `ids` (n,) are the tokens of prompt and completion together."""
        digest = hashlib.sha256(self._key_prefix)
        digest.update(struct.pack("<II", len(ids), completion_start))
        digest.update(np.ascontiguousarray(ids, dtype="<u4").tobytes())
        return digest.digest()

    @cached_property
    def _key_prefix(self) -> bytes:
        return KEY_SCHEMA.encode() + bytes.fromhex(self.sha256)


def differences(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """The identity fields in which two references differ."""
    return sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))


def digest_weights(files: Iterable[Path], memo: Path | None = None) -> str:
    """SHA-256 over every tensor of the safetensors `files`, in order of tensor name, however they are sharded.

    `memo` is a folder that remembers each file's digests. Raises `BadWeights` for a file that is not whole.
    """
    tensors: dict[str, str] = {}
    for path in files:
        tensors |= _remembered(path, memo) if memo else _tensor_digests(path)
    return digest_json(tensors)


def _remembered(path: Path, memo: Path) -> dict[str, str]:
    status = path.stat()
    facts = [str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ino]
    known = memo / f"{digest_json(facts)}.json"
    try:
        remembered: dict[str, str] = json.loads(known.read_text())
    except (OSError, ValueError):
        remembered = _tensor_digests(path)
        memo.mkdir(parents=True, exist_ok=True)
        with whole_file(known, known.with_name(f".{known.name}.{uuid.uuid4().hex}"), durable=False) as file:
            file.write(json.dumps(remembered).encode())
    return remembered


def _tensor_digests(path: Path) -> dict[str, str]:
    """For each tensor of one safetensors file, a digest of its dtype, shape and bytes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size, MAX_HEADER):
                raise ValueError("its header is longer than the file")
            header: dict[str, Any] = json.loads(file.read(length))
            header.pop("__metadata__", None)
            return {name: _tensor_digest(file.fileno(), 8 + length, size, entry) for name, entry in header.items()}
        except (ValueError, struct.error, KeyError, TypeError) as error:
            raise BadWeights(f"{path} is not a whole safetensors file ({error}); copy or download it again") from error


def _tensor_digest(descriptor: int, base: int, size: int, entry: Mapping[str, Any]) -> str:
    begin, end = (base + offset for offset in entry["data_offsets"])
    if not base <= begin <= end <= size:
        raise ValueError("a tensor lies beyond its end")
    digest = hashlib.sha256(json.dumps([entry["dtype"], entry["shape"]]).encode())
    while begin < end:
        chunk = os.pread(descriptor, min(HASH_CHUNK, end - begin), begin)
        if not chunk:
            raise ValueError("it ended while being read")
        digest.update(chunk)
        begin += len(chunk)
    return digest.hexdigest()
