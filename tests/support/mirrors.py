"""Mirrors of a shared cache, and what its object store has."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.reference import Reference
from prefd.cache.shared.bucket import Bucket
from prefd.cache.shared.cache import SharedCache
from prefd.cache.shared.segments import SharedSegments
from prefd.cache.store import ReferenceCache
from prefd.cache.upkeep.prune import prune
from prefd.cache.upkeep.removals import PruneLimits
from support.cache_entries import Entries

FINGERPRINT = ReferenceFingerprint({"weights": "w"}, {"model": "m"})


def connect_mirror(url: str, folder: Path) -> SharedCache:
    """A mirror that gives up at once."""
    return SharedCache.connect(url, folder, {"retry_config": {"max_retries": 0}} if url.startswith("s3") else None)


def remote(url: str) -> SharedSegments:
    return SharedSegments(Bucket(url), FINGERPRINT.name, FINGERPRINT.sha256)


def assert_has(reference: Reference, values: Entries) -> None:
    assert reference.missing(list(values)) == []
    for actual, value in zip(reference.get(list(values)), values.values()):
        np.testing.assert_array_equal(actual, value)


def prune_all(folder: Path) -> None:
    """Prune all entries of a mirror here; the object store keeps them."""
    assert prune(ReferenceCache.open(folder, mirror=True), PruneLimits(max_size=0)).removed
