"""Key → where its entry is, for all segments at once: the keys' first 8 bytes as u64, sorted; then full equality.

64 bytes of memory an entry: what is read of an entry before its log-probabilities is copied here from the segments'
arrays, so that a batch of keys is looked up in a few vectorised steps. The sorted prefixes are kept in runs, each at
least twice as long as the next: what is new is sorted alone, and merged with the runs before it only when it has grown
to their size, so that a reader that follows a writer pays for what is new and not for the whole each time. One search a
run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from prefd.cache.segments.segment import Segment

PER_BUCKET = 8  # prefixes, on average: the cache line that is read for one of them
MAX_BUCKET = 64  # prefixes in the longest one; with more the keys are no hashes, and a binary search it is
MAX_BATCH = 4096  # keys looked up through the buckets at once, which takes up to 1 KB of memory for each


class FoundEntry(NamedTuple):
    """One entry that has a key which was looked for."""

    segment: Segment
    at: int
    """Of the key, among those that were looked for."""
    row: int
    begin: int
    end: int
    """Of its log-probabilities in `segment.logprobs`."""
    crc: int


@dataclass(frozen=True, eq=False)
class Entries:
    """What some segments' arrays say of their entries, segment by segment."""

    keys: npt.NDArray[np.void]
    begins: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    crcs: npt.NDArray[np.uint32]
    starts: npt.NDArray[np.int64]
    """(segments,): the first entry of each."""

    @classmethod
    def of(cls, segments: Sequence[Segment]) -> Entries:
        return cls(
            np.concatenate([segment.names for segment in segments]),
            np.concatenate([segment.offsets[:-1] for segment in segments]),
            np.concatenate([segment.offsets[1:] for segment in segments]),
            np.concatenate([segment.crcs for segment in segments]),
            np.cumsum([0, *(segment.entries for segment in segments[:-1])]),
        )


@dataclass(frozen=True, eq=False)
class SortedEntries:
    """The entries of some segments, in order of their keys' prefixes."""

    segments: tuple[Segment, ...]
    prefixes: npt.NDArray[np.uint64]
    """(n,) sorted."""
    order: npt.NDArray[np.uint32]
    """(n,) which entry has the prefix, counted through the segments."""

    @classmethod
    def over(cls, segments: Sequence[Segment]) -> SortedEntries:
        prefixes = np.concatenate([prefixes_of(segment.keys) for segment in segments])
        return cls.sorted(segments, prefixes, np.arange(len(prefixes), dtype=np.uint32))

    @classmethod
    def sorted(
        cls, segments: Sequence[Segment], prefixes: npt.NDArray[np.uint64], order: npt.NDArray[np.uint32]
    ) -> SortedEntries:
        """The run of `prefixes` in any order; fast where they are sorted piece by piece."""
        ascending = np.argsort(prefixes, kind="stable")  # a merge sort
        return cls(tuple(segments), prefixes[ascending], order[ascending])

    @cached_property
    def repeats(self) -> bool:
        """Whether a prefix comes more than once: a key that is held twice, or 8 bytes that are equal by chance."""
        return bool((self.prefixes[1:] == self.prefixes[:-1]).any())

    @cached_property
    def entries(self) -> Entries:
        """Copied at the first lookup; the next ones find in a few cache misses what lies in many files."""
        return Entries.of(self.segments)

    def matches(self, keys: npt.NDArray[np.void], prefixes: npt.NDArray[np.uint64]) -> list[FoundEntry]:
        """Every entry that has one of `keys`, (n,) V32, whose prefixes are `prefixes`."""
        first = self._first(prefixes)
        at = (self.prefixes.take(first, mode="clip") == prefixes).nonzero()[0]
        first = first.take(at)
        found: list[FoundEntry] = []
        while len(at):
            which = self.order.take(first)
            whole = self.entries.keys.take(which) == keys.take(at)
            found += self._matches(at[whole], which[whole])
            if not self.repeats:
                break
            first = first + 1
            more = (first < len(self.prefixes)) & (self.prefixes.take(first, mode="clip") == prefixes.take(at))
            at, first = at[more], first[more]
        return found

    def _matches(self, at: npt.NDArray[np.intp], which: npt.NDArray[np.uint32]) -> Iterator[FoundEntry]:
        """Entry `which[n]` has key `at[n]`."""
        entries = self.entries
        slots = entries.starts.searchsorted(which, side="right") - 1
        segments = [self.segments[slot] for slot in slots.tolist()]
        rows = which - entries.starts.take(slots)
        columns = at, rows, entries.begins.take(which), entries.ends.take(which), entries.crcs.take(which)
        return map(FoundEntry, segments, *(column.tolist() for column in columns))

    def _first(self, prefixes: npt.NDArray[np.uint64]) -> npt.NDArray[np.intp]:
        """For each the position of the first prefix that is not below it, as `searchsorted` says.

        Keys are SHA-256, evenly spread, so a table of where the first bits lead leaves a few neighbours to look at: two
        cache misses instead of ten.
        """
        shift, buckets, longest = self._buckets
        if longest > MAX_BUCKET or len(prefixes) > MAX_BATCH:
            return self.prefixes.searchsorted(prefixes)
        begin = buckets.take(prefixes >> shift)
        window = self.prefixes.take(begin[:, None] + np.arange(longest), mode="clip")
        first: npt.NDArray[np.intp] = begin + (window < prefixes[:, None]).sum(axis=1)
        return first

    @cached_property
    def _buckets(self) -> tuple[np.uint64, npt.NDArray[np.uint32], int]:
        """By how much a prefix is shifted to give its bucket, where each bucket begins, and the longest one's length."""
        bits = max(1, (len(self.prefixes) // PER_BUCKET).bit_length())
        shift = np.uint64(64 - bits)
        begins = self.prefixes.searchsorted(np.arange(2**bits, dtype=np.uint64) << shift)
        return shift, begins.astype(np.uint32), int(np.diff(begins, append=len(self.prefixes)).max())

    def without(self, ids: Collection[str]) -> SortedEntries | None:
        """This run without the segments named `ids`; None if it has no others."""
        if not any(segment.id in ids for segment in self.segments):
            return self
        left = [segment for segment in self.segments if segment.id not in ids]
        return SortedEntries.over(left) if left else None


@dataclass(frozen=True, eq=False)
class Index:
    """An immutable snapshot over its segments; `extended` and `without` make the next one."""

    runs: tuple[SortedEntries, ...] = ()

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        return tuple(segment for run in self.runs for segment in run.segments)

    def extended(self, segments: Sequence[Segment]) -> Index:
        """This index with `segments` added behind."""
        if not segments:
            return self
        runs = [*self.runs, SortedEntries.over(segments)]
        while len(runs) > 1 and len(runs[-2].prefixes) < 2 * len(runs[-1].prefixes):
            runs[-2:] = [merged(runs[-2:])]
        return Index(tuple(runs))

    def without(self, ids: Collection[str]) -> Index:
        """This index with the segments named `ids` dropped. Costs a pass over the runs that have one of them."""
        return Index(tuple(left for run in self.runs if (left := run.without(ids)) is not None)) if ids else self

    def matches(self, keys: Sequence[bytes]) -> list[FoundEntry]:
        """Every entry that has one of `keys`; of those that have the same, the one in the lowest segment id first."""
        joined = b"".join(keys)
        names, prefixes = np.frombuffer(joined, "V32"), np.frombuffer(joined, ">u8")[::4].astype(np.uint64)
        found = [match for run in self.runs for match in run.matches(names, prefixes)]
        if len({match.at for match in found}) < len(found):
            found.sort(key=lambda match: match.segment.id)
        return found

    def find(self, keys: Sequence[bytes]) -> list[list[tuple[Segment, int]]]:
        """For each of `keys`, every (segment, row) that holds it, lowest segment id first."""
        found: list[list[tuple[Segment, int]]] = [[] for _ in keys]
        for match in self.matches(keys):
            found[match.at].append((match.segment, match.row))
        return found

    def repeated(self, keys: Sequence[bytes]) -> list[bytes]:
        """Those of `keys` that may be held more than once: whose prefix is. Fast where none is."""
        wanted = np.frombuffer(b"".join(keys), ">u8")[::4].astype(np.uint64)
        held = np.zeros(len(keys), np.int64)
        for run in self.runs:
            held += run.prefixes.searchsorted(wanted, side="right") - run.prefixes.searchsorted(wanted)
        return [keys[at] for at in np.flatnonzero(held > 1).tolist()]

    def shared(self) -> Iterator[tuple[bytes, list[tuple[Segment, int]]]]:
        """Every key that more than one segment holds, with its places, lowest segment id first."""
        if not self.runs:
            return
        everything = merged(self.runs)
        same = np.flatnonzero(everything.prefixes[1:] == everything.prefixes[:-1])
        rows = np.unique(np.concatenate([same, same + 1]))
        keys = sorted(set(everything.entries.keys[everything.order[rows]].tolist()))
        for key, places in zip(keys, self.find(keys)):
            if len(places) > 1:
                yield key, places

    def all_keys(self) -> npt.NDArray[np.uint8]:
        """(n, 32) uint8: every key once, in order."""
        if not self.segments:
            return np.empty((0, 32), np.uint8)
        everything = np.concatenate([segment.names for segment in self.segments])
        return np.unique(everything).view(np.uint8).reshape(-1, 32)


def merged(runs: Sequence[SortedEntries]) -> SortedEntries:
    """One run of several; equal prefixes in any order."""
    if len(runs) == 1:
        return runs[0]
    before = np.cumsum([0, *(len(run.order) for run in runs[:-1])], dtype=np.uint32)
    return SortedEntries.sorted(
        [segment for run in runs for segment in run.segments],
        np.concatenate([run.prefixes for run in runs]),
        np.concatenate([run.order + first for run, first in zip(runs, before)]),
    )


def prefixes_of(keys: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """(n, 32) uint8 → (n,) uint64: the first 8 bytes of each key, big-endian so that their order is the keys'."""
    return np.ascontiguousarray(keys[:, :8]).view(">u8").reshape(-1).astype(np.uint64)
