"""Key → (segment, row), for all segments at once: the keys' first 8 bytes as u64, sorted; then full equality.

16 bytes of memory an entry. The sorted prefixes are kept in runs, each at least twice as long as the next: what is new
is sorted alone, and merged with the runs before it only when it has grown to their size, so that a reader that follows
a writer pays for what is new and not for the whole each time. One binary search a run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prefd.cache.segment import Segment

ROW_BITS = np.uint64(32)
ROW_MASK = np.uint64(2**32 - 1)


@dataclass(frozen=True, eq=False)
class Run:
    """Sorted prefixes (n,) uint64, and for each its place (n,) uint64: segment << 32 | row."""

    prefixes: npt.NDArray[np.uint64]
    places: npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Index:
    """An immutable snapshot over `segments`; `extended` and `without` make the next one."""

    segments: tuple[Segment, ...] = ()
    runs: tuple[Run, ...] = ()

    def extended(self, segments: Sequence[Segment]) -> Index:
        """This index with `segments` added behind."""
        if not segments:
            return self
        first = len(self.segments)
        added = [
            Run(prefixes_of(segment.keys), (np.uint64(at) << ROW_BITS) + np.arange(segment.entries, dtype=np.uint64))
            for at, segment in enumerate(segments, first)
        ]
        runs = [*self.runs, merged(added)]
        while len(runs) > 1 and len(runs[-2].prefixes) < 2 * len(runs[-1].prefixes):
            runs[-2:] = [merged(runs[-2:])]
        return Index((*self.segments, *segments), tuple(runs))

    def without(self, ids: Collection[str]) -> Index:
        """This index with the segments named `ids` dropped. Costs a pass over all of it."""
        if not any(segment.id in ids for segment in self.segments):
            return self
        kept = np.array([segment.id not in ids for segment in self.segments])
        moved = (np.cumsum(kept) - 1).astype(np.uint64)
        runs = []
        for run in self.runs:
            slots = run.places >> ROW_BITS
            mask = kept[slots]
            places = (moved[slots[mask]] << ROW_BITS) | (run.places[mask] & ROW_MASK)
            if len(places):
                runs.append(Run(run.prefixes[mask], places))
        return Index(tuple(segment for segment in self.segments if segment.id not in ids), tuple(runs))

    def find(self, keys: Sequence[bytes]) -> list[list[tuple[Segment, int]]]:
        """For each of `keys`, every (segment, row) that holds it, lowest segment id first."""
        found: list[list[tuple[Segment, int]]] = [[] for _ in keys]
        wanted = prefixes_of(np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), 32))
        for run in self.runs:
            left = run.prefixes.searchsorted(wanted)
            held = (run.prefixes.take(left, mode="clip") == wanted).nonzero()[0]
            first = left[held]
            self._take_whole(found, keys, held, run.places[first])
            while len(held):  # whose prefix goes on: a key that is held twice, or 8 bytes that are equal by chance
                first = first + 1
                more = (first < len(run.prefixes)) & (run.prefixes.take(first, mode="clip") == wanted[held])
                held, first = held[more], first[more]
                self._take_whole(found, keys, held, run.places[first])
        return found

    def _take_whole(
        self,
        found: list[list[tuple[Segment, int]]],
        keys: Sequence[bytes],
        held: npt.NDArray[np.intp],
        places: npt.NDArray[np.uint64],
    ) -> None:
        """Add to `found` those of `places` whose key is, in full, the one looked for."""
        for at, place in zip(held.tolist(), places.tolist()):
            segment, row = self.segments[place >> 32], place & 0xFFFFFFFF
            if segment.key(row) == keys[at]:
                found[at].append((segment, row))
                if len(found[at]) > 1:
                    found[at].sort(key=lambda one: one[0].id)

    def repeated(self, keys: Sequence[bytes]) -> list[bytes]:
        """Those of `keys` that may be held more than once: whose prefix is. Fast where none is."""
        wanted = prefixes_of(np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), 32))
        held = np.zeros(len(keys), np.int64)
        for run in self.runs:
            held += np.searchsorted(run.prefixes, wanted, side="right") - np.searchsorted(run.prefixes, wanted)
        return [keys[at] for at in np.flatnonzero(held > 1).tolist()]

    def shared(self) -> Iterator[tuple[bytes, list[tuple[Segment, int]]]]:
        """Every key that more than one segment holds, with its places, lowest segment id first."""
        if not self.runs:
            return
        everything = merged(self.runs)
        prefixes = everything.prefixes
        same = np.flatnonzero(prefixes[1:] == prefixes[:-1])
        rows = np.unique(np.concatenate([same, same + 1]))
        slots, at = everything.places[rows] >> ROW_BITS, everything.places[rows] & ROW_MASK
        keys = sorted({self.segments[slot].keys[row].tobytes() for slot, row in zip(slots.tolist(), at.tolist())})
        for key, places in zip(keys, self.find(keys)):
            if len(places) > 1:
                yield key, places

    def all_keys(self) -> npt.NDArray[np.uint8]:
        """(n, 32) uint8: every key once, in order."""
        if not self.segments:
            return np.empty((0, 32), np.uint8)
        everything = np.concatenate([segment.keys for segment in self.segments])
        return np.unique(everything.view("V32").reshape(-1)).view(np.uint8).reshape(-1, 32)


def merged(runs: Sequence[Run]) -> Run:
    """One run of several; equal prefixes in any order."""
    if len(runs) == 1:
        return runs[0]
    prefixes = np.concatenate([run.prefixes for run in runs])
    places = np.concatenate([run.places for run in runs])
    order = np.argsort(prefixes, kind="stable")  # a merge sort: it uses that the parts are sorted
    return Run(prefixes[order], places[order])


def prefixes_of(keys: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """(n, 32) uint8 → (n,) uint64: the first 8 bytes of each key, big-endian so that their order is the keys'."""
    return np.ascontiguousarray(keys[:, :8]).view(">u8").reshape(-1).astype(np.uint64)
