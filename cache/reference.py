"""The entries of one reference: which are missing, what they are, and how new ones are committed.

Commit: a segment is written and flushed under `.tmp`, its folder renamed into `segments/`, the parent flushed; only
then does `put` return. A crash before the rename loses that batch and nothing else. There is no lock between processes
and no file that two of them change; inside a process, any thread may call anything: readers use an immutable index,
which `refresh` exchanges for the next.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from prefd.cache.agreement import TOLERANCE, Disagreement, differing
from prefd.cache.index import Index
from prefd.cache.segments.durable import flush, flush_for_good
from prefd.cache.segments.ids import following, is_id, new_id
from prefd.cache.segments.segment import (
    DamagedEntry,
    DamagedSegment,
    Segment,
    open_segment,
    write_segment,
)

log = logging.getLogger(__name__)

USED_EVERY_S = 3600.0  # how exact the time of a segment's last use is


class MissingEntry(KeyError):
    """A completion the store does not hold, or holds damaged. Score it and put it first."""


class Reference:
    """A view of one reference's segments, as of the last `refresh`.

    Damage is logged once and kept in `damage`; disagreements that a `put` of this view made, in `conflicts`. `tolerance`
    is how far apart two scores of one completion may be, in nats a token.
    """

    def __init__(
        self, folder: Path, staging: Path, identity_sha256: str, tolerance: float = TOLERANCE["float32"]
    ) -> None:
        self.folder = folder / "segments"
        self.staging = staging
        self.identity_sha256 = identity_sha256
        self.tolerance = tolerance
        self.damage: dict[str, str] = {}
        self._index = Index()
        self.conflicts: list[Disagreement] = []
        self._lock = threading.Lock()
        self._greatest = ""
        self._used: set[str] = set()
        self._used_since = time.monotonic()
        self.refresh()

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The open segments that are whole and not replaced."""
        return self._index.segments

    def all_keys(self) -> npt.NDArray[np.uint8]:
        """(n, 32) uint8: every key that is held, once, in order."""
        return self._index.all_keys()

    # reading

    def refresh(self) -> None:
        """Take in what other writers have committed since, and let go of what has been replaced or removed."""
        with self._lock:
            while not self._refreshed():
                pass

    def _refreshed(self) -> bool:
        """False when a segment vanished between being listed and being opened: what replaces it may be new as well."""
        listed = set(self._listed())
        index = self._index.without({segment.id for segment in self.segments} - listed)
        known = {segment.id for segment in index.segments} | self.damage.keys()
        replaced = {name for segment in index.segments for name in segment.replaces}
        opened = []
        for name in sorted(listed - known, reverse=True):  # a segment is younger than those that it replaces
            if name in replaced:
                continue
            try:
                segment = self._open(name)
            except FileNotFoundError:
                return False
            if segment is not None:
                opened.append(segment)
                replaced.update(segment.replaces)
        whole = [segment for segment in reversed(opened) if segment.id not in replaced]
        self._index = index.without(replaced).extended(whole)
        return True

    def _listed(self) -> list[str]:
        try:
            return [name for name in os.listdir(self.folder) if not name.startswith(".")]
        except FileNotFoundError:
            return []  # nothing has been put yet

    def _open(self, name: str) -> Segment | None:
        try:
            return open_segment(self.folder / name, self.identity_sha256)
        except DamagedSegment as error:
            self._report(name, str(error))
            return None

    def _report(self, where: str, what: str) -> None:
        if where not in self.damage:
            self.damage[where] = what
            log.warning("damage in the reference cache, to be scored again: %s", what)

    def find(self, keys: Sequence[bytes]) -> list[npt.NDArray[np.float32] | None]:
        """For each key its (length,) float32 log-probabilities, checked; None where it is missing or damaged."""
        if not keys:
            return []
        self._forget_uses()
        values: list[npt.NDArray[np.float32] | None] = [None] * len(keys)
        for segment, at, row, begin, end, crc in self._index.matches(keys):
            if values[at] is not None:
                continue
            try:
                values[at] = segment.checked(keys[at], begin, end, crc)
            except DamagedEntry as error:
                self._report(f"{segment.id}[{row}]", str(error))
            else:
                if segment.id not in self._used:
                    self._use(segment)
        return values

    def _forget_uses(self) -> None:
        if time.monotonic() - self._used_since > USED_EVERY_S:
            self._used, self._used_since = set(), time.monotonic()

    def _use(self, segment: Segment) -> None:
        """Leave the time on the segment's folder, for `prune`, unless there is a recent one."""
        self._used.add(segment.id)
        try:
            if abs(time.time() - segment.path.stat().st_mtime) > USED_EVERY_S:
                os.utime(segment.path)
        except OSError:
            pass  # gone meanwhile, or a read-only store

    def missing(self, keys: Sequence[bytes]) -> list[bytes]:
        """Those of `keys` that have to be scored: absent, or damaged."""
        self.refresh()
        return [key for key, value in zip(keys, self.find(keys)) if value is None]

    def get(self, keys: Sequence[bytes]) -> list[npt.NDArray[np.float32]]:
        """(length,) float32 log-probabilities for each key. Raises `MissingEntry` naming the first that is not there."""
        values = self.find(keys)
        found = [value for value in values if value is not None]
        if len(found) < len(keys):
            self.refresh()
            values = self.find(keys)
            found = [value for value in values if value is not None]
        if len(found) < len(keys):
            raise self._no_entry(next(key for key, value in zip(keys, values) if value is None))
        return found

    tokens = get

    def sums(self, keys: Sequence[bytes]) -> npt.NDArray[np.float64]:
        """(n,) float64: log π_ref of each whole completion, in nats. Raises `MissingEntry` as `get` does.

        Reads no token: a segment's `sum` array is checked against the manifest when the segment is opened, and was
        computed from the values that were put.
        """
        try:
            return self._sums(keys)
        except MissingEntry:
            self.refresh()
            return self._sums(keys)

    def _sums(self, keys: Sequence[bytes]) -> npt.NDArray[np.float64]:
        self._forget_uses()
        sums = np.empty(len(keys))
        for at, places in enumerate(self._index.find(keys) if keys else ()):
            if not places:
                raise self._no_entry(keys[at])
            segment, row = places[0]
            sums[at] = segment.sums[row]
            if segment.id not in self._used:
                self._use(segment)
        return sums

    def _no_entry(self, key: bytes) -> MissingEntry:
        return MissingEntry(f"completion {key.hex()[:16]} is not in the reference cache at {self.folder.parent}")

    def scan(self) -> Iterator[Segment]:
        """Every segment with all of its log-probabilities checked at once, for reading it from end to end.

        Damaged ones are reported and left out: their whole entries are still there for `get`. A key that two segments
        hold comes twice.
        """
        for segment in self.segments:
            try:
                segment.check_logprobs()
            except DamagedSegment as error:
                self._report(f"{segment.id}/logprob", str(error))
            else:
                yield segment

    def disagreements(self, tolerance: float | None = None) -> list[Disagreement]:
        """The completions for which two segments hold whole values that differ by more than `tolerance` nats a token.

        Writers that miss the same key at the same time both put it. That is harmless while they agree.
        """
        return [one for _, places in self._index.shared() for one in self._differing(places, tolerance)]

    def _differing(self, places: Sequence[tuple[Segment, int]], limit: float | None = None) -> Iterator[Disagreement]:
        whole = [each for each in places if self._whole(*each)]
        return differing(whole, self.tolerance if limit is None else limit)

    def _whole(self, segment: Segment, row: int) -> bool:
        try:
            segment.read(row)
        except DamagedEntry as error:
            self._report(f"{segment.id}[{row}]", str(error))
            return False
        return True

    # writing

    def put(self, entries: Mapping[bytes, npt.NDArray[np.float32]], replaces: Collection[str] = ()) -> str | None:
        """Commit `entries` as one segment and return its id; they are durable when this returns.

        `replaces` names segments all of whose entries are among these. Raises `InvalidLogprobs` for a value that is
        empty, not finite or above zero: nothing is committed then. Raises OSError when the disk refuses: nothing is
        committed then, or all of it but without the promise that it survives a power cut.
        """
        if not entries:
            return None
        # What a replaced segment had replaced may not have been deleted yet, and must not come back.
        before = {name for segment in self.segments if segment.id in replaces for name in segment.replaces}
        made = self.staging / new_id()
        try:
            write_segment(made, entries, self.identity_sha256, tuple(sorted(before | set(replaces))))
            name = self.publish(made)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        self._compare(list(entries))
        return name

    def publish(self, made: Path) -> str:
        """Commit the flushed segment at `made`, in the staging folder, and return the id that it has from then on.

        The id is above every one that is there, whatever the clock says, so that what was believed stays believed.
        """
        if not self._greatest or not self.folder.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            flush(self.folder.parent)  # whoever made the folder may not have come so far
        with self._lock:
            name = self._greatest = following(max([self._greatest, *filter(is_id, self._listed())]))
            made.rename(self.folder / name)
        flush_for_good(self.folder)
        self.refresh()
        return name

    def _compare(self, keys: Sequence[bytes]) -> None:
        """Say so when what was just put differs from what is believed."""
        index = self._index
        for places in index.find(index.repeated(keys)):
            for one in self._differing(places) if len(places) > 1 else ():
                if one not in self.conflicts:
                    self.conflicts.append(one)
                    log.warning("the reference cache holds two values, and believes the first: %s", one)
