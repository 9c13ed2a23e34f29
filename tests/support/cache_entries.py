"""Entries of a reference cache, made up: their keys, their values, the reference that they are of, and damage to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from prefd.cache.fingerprint import ReferenceFingerprint

Entries = dict[bytes, npt.NDArray[np.float32]]
FINGERPRINT = ReferenceFingerprint({"weights": "w", "compute_dtype": "float32"}, {"model": "m"})
KEYS = [bytes([number]) * 8 + bytes([number // 2]) * 24 for number in range(12)]


def entries(count: int = 20, seed: int = 0) -> Entries:
    rng = np.random.default_rng(seed)
    return {rng.bytes(32): -rng.gamma(1.0, 1.0, rng.integers(1, 30)).astype(np.float32) for _ in range(count)}


def value_of(key: bytes) -> npt.NDArray[np.float32]:
    """What the model gives for it: the same whenever and wherever it is scored."""
    return -np.arange(1, key[0] % 4 + 2, dtype=np.float32) * np.float32(0.37 + key[0])


def flip(path: Path, place: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 0x10
    path.write_bytes(bytes(data))
