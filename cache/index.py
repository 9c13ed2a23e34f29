"""Finds where a key's entry is, in all segments at once.

The entries are kept in sorted runs, each at least twice as long as the next: new ones are sorted alone, and merged with
the runs before them only when they have grown to their size, so that a reader that follows a writer pays for what is new
and not for all of it each time. A lookup searches each run once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from prefd.cache.segments.segment import Segment
from prefd.cache.sorted_entries import FoundEntry, SortedEntries, merge_runs


@dataclass(frozen=True, eq=False)
class Index:
    """Finds keys in a fixed set of segments. It never changes: `with_segments` and `without` make the next one."""

    runs: tuple[SortedEntries, ...] = ()

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """Returns all segments of the index, run by run."""
        return tuple(segment for run in self.runs for segment in run.segments)

    def with_segments(self, segments: Sequence[Segment]) -> Index:
        """Makes the index of these segments and `segments`."""
        if not segments:
            return self
        runs = [*self.runs, SortedEntries.from_segments(segments)]
        while len(runs) > 1 and len(runs[-2].prefixes) < 2 * len(runs[-1].prefixes):
            runs[-2:] = [merge_runs(runs[-2:])]
        return Index(tuple(runs))

    def without(self, ids: Collection[str]) -> Index:
        """Makes the index without the segments named `ids`. Costs a pass over the runs that have one of them."""
        if not ids:
            return self
        return Index(tuple(remaining for run in self.runs if (remaining := run.without(ids)) is not None))

    def find_matches(self, keys: Sequence[bytes]) -> list[FoundEntry]:
        """Finds every entry that has one of `keys`; of equal ones, that with the lowest segment id first."""
        joined = b"".join(keys)
        names, prefixes = np.frombuffer(joined, "V32"), np.frombuffer(joined, ">u8")[::4].astype(np.uint64)
        matches = [match for run in self.runs for match in run.find_matches(names, prefixes)]
        if len({match.position for match in matches}) < len(matches):
            matches.sort(key=lambda match: match.segment.id)
        return matches

    def find(self, keys: Sequence[bytes]) -> list[list[tuple[Segment, int]]]:
        """Finds for each of `keys` every (segment, row) that holds it, lowest segment id first."""
        places: list[list[tuple[Segment, int]]] = [[] for _ in keys]
        for match in self.find_matches(keys):
            places[match.position].append((match.segment, match.row))
        return places

    def find_repeated(self, keys: Sequence[bytes]) -> list[bytes]:
        """Finds those of `keys` that may be held more than once, as their prefixes are. It is fast where none is."""
        prefixes = np.frombuffer(b"".join(keys), ">u8")[::4].astype(np.uint64)
        counts = np.zeros(len(keys), np.int64)
        for run in self.runs:
            counts += run.prefixes.searchsorted(prefixes, side="right") - run.prefixes.searchsorted(prefixes)
        return [keys[position] for position in np.flatnonzero(counts > 1).tolist()]

    def find_shared(self) -> Iterator[tuple[bytes, list[tuple[Segment, int]]]]:
        """Finds every key that more than one segment holds, with its places, lowest segment id first."""
        if not self.runs:
            return
        run = merge_runs(self.runs)
        repeats = np.flatnonzero(run.prefixes[1:] == run.prefixes[:-1])
        slots = np.unique(np.concatenate([repeats, repeats + 1]))
        keys = sorted(set(run.entries.keys[run.order[slots]].tolist()))
        for key, places in zip(keys, self.find(keys)):
            if len(places) > 1:
                yield key, places

    def all_keys(self) -> npt.NDArray[np.uint8]:
        """Lists every key once, in order: (n, 32) uint8."""
        if not self.segments:
            return np.empty((0, 32), np.uint8)
        names = np.concatenate([segment.names for segment in self.segments])
        return np.unique(names).view(np.uint8).reshape(-1, 32)
