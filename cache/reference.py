"""Reads and commits the entries of one reference: log-probabilities under the keys of completions.

To commit, a segment is written and flushed under `.tmp`, its folder renamed into `segments/`, the parent flushed; only
then does `put` return. A crash before the rename loses that batch and nothing else. There is no lock between processes
and no file that two of them change. Inside a process, any thread may call anything: readers use an immutable index,
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

from prefd.cache import claims
from prefd.cache.agreement import TOLERANCE, Disagreement, compare_entries
from prefd.cache.index import Index
from prefd.cache.segments.durable import flush, flush_for_good
from prefd.cache.segments.ids import is_id, make_id_after, new_id
from prefd.cache.segments.segment import (
    DamagedEntry,
    DamagedSegment,
    Segment,
    open_segment,
    write_segment,
)

log = logging.getLogger(__name__)

USED_EVERY_S = 3600.0  # the time of a segment's last use is as exact as this


class MissingEntry(KeyError):
    """MissingEntry is raised for a completion that the store does not hold, or holds damaged. It has to be scored and put first."""


class Reference:
    """Gives access to the entries of one reference, as they were at the last `refresh`.

    Damage is logged once and noted in `damage`; disagreements that a `put` of this view made, in `conflicts`. Two scores
    of one completion may differ by `tolerance`, in nats a token.
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
        self._greatest_id = ""
        self._recently_used: set[str] = set()
        self._used_since = time.monotonic()
        self.refresh()

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Returns the segments that are read: those that are whole, and not replaced by another."""
        return self._index.segments

    def all_keys(self) -> npt.NDArray[np.uint8]:
        """Lists every key that is held, once, in order: (n, 32) uint8."""
        return self._index.all_keys()

    # reading

    def refresh(self) -> None:
        """Opens what other writers have committed since, and lets go of what has been replaced or removed."""
        with self._lock:
            while not self._try_refresh():
                pass

    def _try_refresh(self) -> bool:
        """Refreshes once; False when a segment vanished after it was listed: what replaces it may be new as well."""
        names = set(self._list_names())
        index = self._index.without({segment.id for segment in self.segments} - names)
        known_ids = {segment.id for segment in index.segments} | self.damage.keys()
        replaced_ids = {name for segment in index.segments for name in segment.replaces}
        segments = []
        for name in sorted(names - known_ids, reverse=True):  # a segment is younger than those that it replaces
            if name in replaced_ids:
                continue
            try:
                segment = self._open_segment(name)
            except FileNotFoundError:
                return False
            if segment is not None:
                segments.append(segment)
                replaced_ids.update(segment.replaces)
        additions = [segment for segment in reversed(segments) if segment.id not in replaced_ids]
        self._index = index.without(replaced_ids).with_segments(additions)
        return True

    def _list_names(self) -> list[str]:
        """Lists the folders in `segments/`."""
        try:
            return [name for name in os.listdir(self.folder) if not name.startswith(".")]
        except FileNotFoundError:
            return []  # nothing has been put yet

    def _open_segment(self, name: str) -> Segment | None:
        """Opens a segment; reports it, and gives None, where it is damaged."""
        try:
            return open_segment(self.folder / name, self.identity_sha256)
        except DamagedSegment as error:
            self._report(name, str(error))
            return None

    def _report(self, place: str, message: str) -> None:
        """Notes and logs the damage at `place`, a segment or a row of one, once."""
        if place not in self.damage:
            self.damage[place] = message
            log.warning("damage in the reference cache, to be scored again: %s", message)

    def find(self, keys: Sequence[bytes]) -> list[npt.NDArray[np.float32] | None]:
        """Looks up each key's (length,) float32 log-probabilities, checked; None where it is missing or damaged."""
        if not keys:
            return []
        self._forget_uses()
        values: list[npt.NDArray[np.float32] | None] = [None] * len(keys)
        for segment, position, row, begin, end, crc in self._index.find_matches(keys):
            if values[position] is not None:
                continue
            try:
                values[position] = segment.read_checked(keys[position], begin, end, crc)
            except DamagedEntry as error:
                self._report(f"{segment.id}[{row}]", str(error))
            else:
                if segment.id not in self._recently_used:
                    self._note_use(segment)
        return values

    def _forget_uses(self) -> None:
        """Forgets, once an hour, which segments have the time of their use noted."""
        if time.monotonic() - self._used_since > USED_EVERY_S:
            self._recently_used, self._used_since = set(), time.monotonic()

    def _note_use(self, segment: Segment) -> None:
        """Sets the mtime of the segment's folder, which `prune` reads, to now, unless it is recent."""
        self._recently_used.add(segment.id)
        try:
            if abs(time.time() - segment.path.stat().st_mtime) > USED_EVERY_S:
                os.utime(segment.path)
        except OSError:
            pass  # gone meanwhile, or a read-only store

    def missing(self, keys: Sequence[bytes]) -> list[bytes]:
        """Finds those of `keys` that have to be scored: absent, or damaged. Refreshes first."""
        self.refresh()
        return [key for key, value in zip(keys, self.find(keys)) if value is None]

    def get(self, keys: Sequence[bytes]) -> list[npt.NDArray[np.float32]]:
        """Looks up the (length,) float32 log-probabilities of each key. Raises `MissingEntry` for an absent one."""
        values = self.find(keys)
        logprobs = [value for value in values if value is not None]
        if len(logprobs) < len(keys):
            self.refresh()
            values = self.find(keys)
            logprobs = [value for value in values if value is not None]
        if len(logprobs) < len(keys):
            raise self._missing_entry(next(key for key, value in zip(keys, values) if value is None))
        return logprobs

    tokens = get

    def sums(self, keys: Sequence[bytes]) -> npt.NDArray[np.float64]:
        """Looks up log π_ref of each whole completion, in nats: (n,) float64. Raises `MissingEntry` as `get` does.

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
        for position, places in enumerate(self._index.find(keys) if keys else ()):
            if not places:
                raise self._missing_entry(keys[position])
            segment, row = places[0]
            sums[position] = segment.sums[row]
            if segment.id not in self._recently_used:
                self._note_use(segment)
        return sums

    def _missing_entry(self, key: bytes) -> MissingEntry:
        return MissingEntry(f"completion {key.hex()[:16]} is not in the reference cache at {self.folder.parent}")

    def scan(self) -> Iterator[Segment]:
        """Yields every segment, all of its log-probabilities checked at once, for reading it from end to end.

        Damaged ones are reported and left out: `get` still finds their whole entries. A key that two segments
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
        """Finds the completions for which two segments hold whole values that differ by more than `tolerance` nats a token.

        Writers that miss the same key at the same time both put it. That is harmless while they agree.
        """
        return [one for _, places in self._index.find_shared() for one in self._find_disagreements(places, tolerance)]

    def _find_disagreements(
        self, places: Sequence[tuple[Segment, int]], limit: float | None = None
    ) -> Iterator[Disagreement]:
        whole_places = [each for each in places if self._is_whole(*each)]
        return compare_entries(whole_places, self.tolerance if limit is None else limit)

    def _is_whole(self, segment: Segment, row: int) -> bool:
        try:
            segment.read(row)
        except DamagedEntry as error:
            self._report(f"{segment.id}[{row}]", str(error))
            return False
        return True

    # writing

    def open_claims(self) -> claims.Claims:
        """Opens the notes of writers on which entries they are computing now."""
        return claims.Claims(claims.ClaimFolder(self.folder.parent / claims.FOLDER))

    def put(self, entries: Mapping[bytes, npt.NDArray[np.float32]], replaces: Collection[str] = ()) -> str | None:
        """Commits `entries` as one segment and returns its id; they are durable when this returns.

        `replaces` names segments all of whose entries are among these. Raises `InvalidLogprobs` for a value that is
        empty, not finite or above zero: nothing is committed then. Raises OSError when the disk refuses: nothing is
        committed then, or all of it but without the promise that it survives a power cut.
        """
        if not entries:
            return None
        # The segments that a replaced one had replaced may not have been deleted yet, and must not come back.
        inherited = {name for segment in self.segments if segment.id in replaces for name in segment.replaces}
        staged = self.staging / new_id()
        try:
            write_segment(staged, entries, self.identity_sha256, tuple(sorted(inherited | set(replaces))))
            name = self.publish(staged)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
        self._report_conflicts(list(entries))
        return name

    def publish(self, staged: Path) -> str:
        """Commits the flushed segment at `staged`, in the staging folder, and returns the id that it has from then on.

        The id is above all others of the reference, whatever the clock says, so that what was believed stays believed.
        """
        if not self._greatest_id or not self.folder.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            flush(self.folder.parent)  # the process that made the folder may not have come so far
        with self._lock:
            name = self._greatest_id = make_id_after(max([self._greatest_id, *filter(is_id, self._list_names())]))
            staged.rename(self.folder / name)
        flush_for_good(self.folder)
        self.refresh()
        return name

    def _report_conflicts(self, keys: Sequence[bytes]) -> None:
        """Notes and logs where what was just put under `keys` differs from what is believed."""
        index = self._index
        for places in index.find(index.find_repeated(keys)):
            for one in self._find_disagreements(places) if len(places) > 1 else ():
                if one not in self.conflicts:
                    self.conflicts.append(one)
                    log.warning("the reference cache holds two values, and believes the first: %s", one)
