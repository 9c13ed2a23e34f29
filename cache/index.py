"""Key → (segment, row), for all segments at once: the keys' first 8 bytes as u64, sorted; then full equality.

16 bytes of memory an entry, one binary search a look-up. Equal keys keep the order in which they were added, so a
reader that adds segments by id finds the lowest id first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prefd.cache.segment import Segment


@dataclass(frozen=True, eq=False)
class Index:
    """An immutable snapshot over `segments`; `extended` makes the next one."""

    segments: tuple[Segment, ...]
    prefixes: npt.NDArray[np.uint64]
    """Sorted."""
    places: npt.NDArray[np.int64]
    """For each prefix, its place in the concatenation of the segments' rows."""
    starts: npt.NDArray[np.int64]
    """Where each segment begins in that concatenation."""

    @classmethod
    def empty(cls) -> Index:
        return cls((), np.empty(0, np.uint64), np.empty(0, np.int64), np.zeros(1, np.int64))

    def extended(self, segments: Sequence[Segment]) -> Index:
        """This index with `segments` added behind."""
        if not segments:
            return self
        everything = (*self.segments, *segments)
        starts = np.cumsum([0, *(segment.entries for segment in everything)], dtype=np.int64)
        prefixes = np.concatenate([self.prefixes, *(prefixes_of(segment.keys) for segment in segments)])
        places = np.concatenate([self.places, np.arange(starts[len(self.segments)], starts[-1])])
        order = np.argsort(prefixes, kind="stable")
        return Index(everything, prefixes[order], places[order], starts)

    def find(self, keys: Sequence[bytes]) -> Iterator[list[tuple[Segment, int]]]:
        """For each of `keys`, every (segment, row) that holds it, first added first."""
        wanted = prefixes_of(np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), 32))
        left = np.searchsorted(self.prefixes, wanted, side="left")
        right = np.searchsorted(self.prefixes, wanted, side="right")
        for key, first, last in zip(keys, left.tolist(), right.tolist()):
            found = []
            for place in sorted(self.places[first:last].tolist()):
                at = int(np.searchsorted(self.starts, place, side="right")) - 1
                row = place - int(self.starts[at])
                if self.segments[at].keys[row].tobytes() == key:
                    found.append((self.segments[at], row))
            yield found


def prefixes_of(keys: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """(n, 32) uint8 → (n,) uint64: the first 8 bytes of each key, big-endian so that their order is the keys'."""
    return np.ascontiguousarray(keys[:, :8]).view(">u8").reshape(-1).astype(np.uint64)
