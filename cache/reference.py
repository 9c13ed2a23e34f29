"""The entries of one reference: which are missing, what they are, and how new ones are committed.

Commit: a segment is written and flushed under `.tmp`, its folder renamed into `segments/`, the parent flushed; only
then does `put` return. A crash before the rename loses that batch and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ulid import ULID

from prefd.cache.index import Index
from prefd.cache.segment import DamagedEntry, DamagedSegment, Segment, flush, open_segment, write_segment

log = logging.getLogger(__name__)


class MissingEntry(KeyError):
    """A completion the store does not hold, or holds damaged. Score it and put it first."""


class InvalidLogprobs(ValueError):
    """Values that cannot be log-probabilities; `key` names the completion they were given for."""

    def __init__(self, key: bytes, reason: str) -> None:
        super().__init__(f"completion {key.hex()[:16]}: {reason}")
        self.key = key


class Reference:
    """A view of one reference's segments, as of the last `refresh`. Damage is logged once and kept in `damage`."""

    def __init__(self, folder: Path, staging: Path, identity_sha256: str) -> None:
        self.folder = folder / "segments"
        self.staging = staging
        self.identity_sha256 = identity_sha256
        self.damage: dict[str, str] = {}
        self._index = Index.empty()
        self.refresh()

    @property
    def segments(self) -> tuple[Segment, ...]:
        return self._index.segments

    def refresh(self) -> None:
        """Take in the segments that other writers have committed since."""
        known = {segment.id for segment in self.segments} | self.damage.keys()
        names = sorted(each.name for each in self.folder.glob("*") if each.name not in known)
        opened = [segment for name in names if (segment := self._open(name)) is not None]
        self._index = self._index.extended(opened)

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
        return [self._first_whole(places) for places in self._index.find(keys)]

    def _first_whole(self, places: Sequence[tuple[Segment, int]]) -> npt.NDArray[np.float32] | None:
        for segment, row in places:
            try:
                return segment.read(row)
            except DamagedEntry as error:
                self._report(f"{segment.id}[{row}]", str(error))
        return None

    def missing(self, keys: Sequence[bytes]) -> list[bytes]:
        """Those of `keys` that have to be scored: absent, or damaged."""
        self.refresh()
        return [key for key, value in zip(keys, self.find(keys)) if value is None]

    def get(self, keys: Sequence[bytes]) -> list[npt.NDArray[np.float32]]:
        """(length,) float32 log-probabilities for each key. Raises `MissingEntry` naming the first that is not there."""
        values = self.find(keys)
        if any(value is None for value in values):
            self.refresh()
            values = self.find(keys)
        found = []
        for key, value in zip(keys, values):
            if value is None:
                raise MissingEntry(f"completion {key.hex()[:16]} is not in the reference cache at {self.folder.parent}")
            found.append(value)
        return found

    def put(self, entries: Mapping[bytes, npt.NDArray[np.float32]]) -> str | None:
        """Commit `entries` as one segment and return its id; they are durable when this returns.

        Raises `InvalidLogprobs` for a value that is empty, not finite or above zero, and OSError when the disk refuses;
        nothing is committed then.
        """
        if not entries:
            return None
        for key, value in entries.items():
            check_logprobs(key, value)
        name = str(ULID())
        made = self.staging / name
        write_segment(made, entries, self.identity_sha256)
        self.folder.mkdir(parents=True, exist_ok=True)
        made.rename(self.folder / name)
        flush(self.folder)
        self.refresh()
        return name


def check_logprobs(key: bytes, value: npt.NDArray[np.float32]) -> None:
    """Refuse what cannot be the log-probabilities of a completion's tokens. Raises `InvalidLogprobs`."""
    if value.ndim != 1 or len(value) == 0:
        raise InvalidLogprobs(key, f"expected one log-probability a token, got shape {value.shape}")
    if not np.isfinite(value).all():
        raise InvalidLogprobs(key, f"log-probability of token {int(np.argmin(np.isfinite(value)))} is not finite")
    if (value > 0).any():
        raise InvalidLogprobs(key, f"log-probability of token {int(np.argmax(value > 0))} is above 0: {value.max()}")
