"""Identifies a reference by everything that changes a number it gives, and each completion by a key made with it.

Weights are identified by content (tensor names, dtypes, shapes, bytes), so the same model under another path or in
other shards is the same reference. This costs one SHA-256 over the weights (about 1 GB/s), which is remembered per file
by path, size, mtime and inode.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from prefd.cache.errors import CacheError
from prefd.cache.segments.durable import whole_file
from prefd.cache.weight_files import read_header

KEY_SCHEMA = "prefd-key/1"
HASH_CHUNK = 16 * 2**20
VOLATILE_CONFIG = {"_name_or_path", "transformers_version", "architectures"}
"""Settings of a model's config.json that change with who saved it, and no number."""


class BadWeights(CacheError, ValueError):
    """BadWeights is raised for a weight file that is not whole safetensors. Its message names the file."""


def digest_json(value: Any) -> str:
    """Computes the SHA-256 of `value` as canonical JSON (sorted keys, no spaces)."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def digest_config(config: Mapping[str, Any]) -> str:
    """Computes the digest of a model's config.json, without the settings that change no number."""
    return digest_json({name: value for name, value in config.items() if name not in VOLATILE_CONFIG})


@dataclass(frozen=True)
class ReferenceFingerprint:
    """ReferenceFingerprint says who a reference is: its `identity` decides its numbers, its `provenance` only says where they came from."""

    identity: Mapping[str, Any]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def sha256(self) -> str:
        """Returns the hash of the identity, in hexadecimal."""
        return digest_json({"key_schema": KEY_SCHEMA} | dict(self.identity))

    @property
    def name(self) -> str:
        """Returns the name of the reference's folder in the cache."""
        return self.sha256[:32]

    def key(self, ids: npt.NDArray[np.uint32], completion_start: int) -> bytes:
        """Computes the 32-byte key of one completion: `ids` (n,) are the tokens of prompt and completion together."""
        digest = hashlib.sha256(self._key_prefix)
        digest.update(struct.pack("<II", len(ids), completion_start))
        digest.update(np.ascontiguousarray(ids, dtype="<u4").tobytes())
        return digest.digest()

    @cached_property
    def _key_prefix(self) -> bytes:
        return KEY_SCHEMA.encode() + bytes.fromhex(self.sha256)


def find_differences(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Finds the fields in which the identities of two references differ."""
    return sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))


def digest_weights(files: Iterable[Path], memo: Path | None = None) -> str:
    """Computes the SHA-256 over every tensor of the safetensors `files`, in order of name, however they are sharded.

    `memo` is a folder that remembers each file's digests. Raises `BadWeights` for a file that is not whole.
    """
    tensors: dict[str, str] = {}
    for path in files:
        tensors |= _recall_digests(path, memo) if memo else _tensor_digests(path)
    return digest_json(tensors)


def _recall_digests(path: Path, memo: Path) -> dict[str, str]:
    """Reads the digests of a file's tensors from the folder `memo`, or computes and notes those of a new file."""
    status = path.stat()
    file_identity = [str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ino]
    memo_file = memo / f"{digest_json(file_identity)}.json"
    try:
        digests: dict[str, str] = json.loads(memo_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        digests = _tensor_digests(path)
        memo.mkdir(parents=True, exist_ok=True)
        with whole_file(memo_file, memo_file.with_name(f".{memo_file.name}.{uuid.uuid4().hex}"), durable=False) as file:
            file.write(json.dumps(digests).encode())
    return digests


def _tensor_digests(path: Path) -> dict[str, str]:
    """Computes, for each tensor of one safetensors file, a digest of its dtype, shape and bytes."""
    try:
        header = read_header(path)
        with path.open("rb") as file:
            digest = partial(_tensor_digest, file.fileno(), header.begin, header.size)
            return {name: digest(entry) for name, entry in header.tensors.items()}
    except (ValueError, KeyError, TypeError) as error:
        fault = error if isinstance(error, ValueError) else "has a tensor of no known place, type or shape"
        raise BadWeights(f"{path} is not a whole safetensors file (it {fault}); copy or download it again") from error


def _tensor_digest(descriptor: int, base: int, size: int, entry: Mapping[str, Any]) -> str:
    begin, end = (base + offset for offset in entry["data_offsets"])
    if not base <= begin <= end <= size:
        raise ValueError("has a tensor beyond its end")
    digest = hashlib.sha256(json.dumps([entry["dtype"], entry["shape"]]).encode())
    while begin < end:
        chunk = os.pread(descriptor, min(HASH_CHUNK, end - begin), begin)
        if not chunk:
            raise ValueError("ended while it was read")
        digest.update(chunk)
        begin += len(chunk)
    return digest.hexdigest()
