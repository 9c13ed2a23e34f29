"""Looks up keys among the entries of some segments, sorted by the keys' first 8 bytes as u64; then by full equality.

It takes 64 bytes of memory an entry: what is read of an entry before its log-probabilities is copied here from the
segments' arrays, so that a batch of keys is looked up in a few vectorised steps.
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
    """FoundEntry is one entry that has a key which was looked for."""

    segment: Segment
    position: int
    """Position of its key among those that were looked for."""
    row: int
    begin: int
    end: int
    """Where its log-probabilities begin and end in `segment.logprobs`."""
    crc: int


@dataclass(frozen=True, eq=False)
class Entries:
    """Entries holds the keys, places and checksums of some segments' entries, one segment behind the other."""

    keys: npt.NDArray[np.void]
    begins: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    crcs: npt.NDArray[np.uint32]
    starts: npt.NDArray[np.int64]
    """(segments,): the first entry of each."""

    @classmethod
    def from_segments(cls, segments: Sequence[Segment]) -> Entries:
        """Copies the arrays of `segments`."""
        return cls(
            np.concatenate([segment.names for segment in segments]),
            np.concatenate([segment.offsets[:-1] for segment in segments]),
            np.concatenate([segment.offsets[1:] for segment in segments]),
            np.concatenate([segment.crcs for segment in segments]),
            np.cumsum([0, *(segment.entries for segment in segments[:-1])]),
        )


@dataclass(frozen=True, eq=False)
class SortedEntries:
    """SortedEntries holds the entries of some segments, in order of their keys' prefixes."""

    segments: tuple[Segment, ...]
    prefixes: npt.NDArray[np.uint64]
    """(n,) sorted."""
    order: npt.NDArray[np.uint32]
    """(n,) number of the entry that has the prefix, counted through the segments."""

    @classmethod
    def from_segments(cls, segments: Sequence[Segment]) -> SortedEntries:
        """Sorts the entries of `segments`."""
        prefixes = np.concatenate([read_prefixes(segment.keys) for segment in segments])
        return cls.sort(segments, prefixes, np.arange(len(prefixes), dtype=np.uint32))

    @classmethod
    def sort(
        cls, segments: Sequence[Segment], prefixes: npt.NDArray[np.uint64], order: npt.NDArray[np.uint32]
    ) -> SortedEntries:
        """Makes a run of `prefixes`, which may be in any order; it is fast where they are sorted piece by piece."""
        ascending = np.argsort(prefixes, kind="stable")  # a merge sort
        return cls(tuple(segments), prefixes[ascending], order[ascending])

    @cached_property
    def has_repeats(self) -> bool:
        """Says whether a prefix comes more than once: a key that is held twice, or 8 bytes that are equal by chance."""
        return bool((self.prefixes[1:] == self.prefixes[:-1]).any())

    @cached_property
    def entries(self) -> Entries:
        """Returns the columns that a lookup reads, copied from the files at the first: the next cost a few cache misses."""
        return Entries.from_segments(self.segments)

    def find_matches(self, keys: npt.NDArray[np.void], prefixes: npt.NDArray[np.uint64]) -> list[FoundEntry]:
        """Finds every entry that has one of `keys`, (n,) V32, whose prefixes are `prefixes`."""
        slots = self._find_first(prefixes)
        positions = (self.prefixes.take(slots, mode="clip") == prefixes).nonzero()[0]
        slots = slots.take(positions)
        matches: list[FoundEntry] = []
        while len(positions):
            numbers = self.order.take(slots)
            equal = self.entries.keys.take(numbers) == keys.take(positions)
            matches += self._describe_matches(positions[equal], numbers[equal])
            if not self.has_repeats:
                break
            slots = slots + 1
            more = (slots < len(self.prefixes)) & (self.prefixes.take(slots, mode="clip") == prefixes.take(positions))
            positions, slots = positions[more], slots[more]
        return matches

    def _describe_matches(
        self, positions: npt.NDArray[np.intp], numbers: npt.NDArray[np.uint32]
    ) -> Iterator[FoundEntry]:
        """Describes the entries numbered `numbers`; the n-th has the key at `positions[n]`."""
        entries = self.entries
        owners = entries.starts.searchsorted(numbers, side="right") - 1
        segments = [self.segments[owner] for owner in owners.tolist()]
        rows = numbers - entries.starts.take(owners)
        columns = positions, rows, entries.begins.take(numbers), entries.ends.take(numbers), entries.crcs.take(numbers)
        return map(FoundEntry, segments, *(column.tolist() for column in columns))

    def _find_first(self, prefixes: npt.NDArray[np.uint64]) -> npt.NDArray[np.intp]:
        """Finds for each of `prefixes` the slot of the first prefix here that is not below it, as `searchsorted` does.

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
        """Returns by how much a prefix is shifted to give its bucket, where each bucket begins, and the longest one's length."""
        bits = max(1, (len(self.prefixes) // PER_BUCKET).bit_length())
        shift = np.uint64(64 - bits)
        begins = self.prefixes.searchsorted(np.arange(2**bits, dtype=np.uint64) << shift)
        return shift, begins.astype(np.uint32), int(np.diff(begins, append=len(self.prefixes)).max())

    def without(self, ids: Collection[str]) -> SortedEntries | None:
        """Makes the run without the segments named `ids`; None if it has no others."""
        if not any(segment.id in ids for segment in self.segments):
            return self
        remaining = [segment for segment in self.segments if segment.id not in ids]
        return SortedEntries.from_segments(remaining) if remaining else None


def merge_runs(runs: Sequence[SortedEntries]) -> SortedEntries:
    """Makes one run of several; equal prefixes come in any order."""
    if len(runs) == 1:
        return runs[0]
    starts = np.cumsum([0, *(len(run.order) for run in runs[:-1])], dtype=np.uint32)
    return SortedEntries.sort(
        [segment for run in runs for segment in run.segments],
        np.concatenate([run.prefixes for run in runs]),
        np.concatenate([run.order + start for run, start in zip(runs, starts)]),
    )


def read_prefixes(keys: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Turns keys, (n, 32) uint8, into their prefixes, (n,) uint64: the first 8 bytes, in the order of the keys."""
    return np.ascontiguousarray(keys[:, :8]).view(">u8").reshape(-1).astype(np.uint64)
