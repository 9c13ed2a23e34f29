"""Tells other writers of a cache which completions a process is scoring now, so that they score others first.

A claim is a hint and no lock: one that is lost, or is not seen, costs work that is done twice, and never a wrong number. It has a
small document of its own, with the process and the first bytes of each key, and is forgotten when its process ends or, where
that cannot be seen, after ten minutes without a renewal.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

LIFE_S = 600.0
RENEW_AFTER_S = 60.0
KEY_BYTES = 8
"""Bytes of a key that a claim names it by."""
FOLDER = "claims"

T = TypeVar("T")


@dataclass(frozen=True)
class Owner:
    """Owner is a process that scores."""

    host: str
    pid: int

    @classmethod
    def of_this_process(cls) -> Owner:
        """Names this process."""
        return cls(platform.node(), os.getpid())

    def is_gone(self) -> bool:
        """Says whether it is known to have ended: a process of another machine never is."""
        if self.host != platform.node():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            return False
        return False


@dataclass(frozen=True)
class Claim:
    """Claim says which completions are being scored, and by whom."""

    owner: Owner
    keys: frozenset[bytes]

    @classmethod
    def parse(cls, document: bytes) -> Claim:
        """Reads the claim in `document`. Raises ValueError, KeyError or TypeError for anything else."""
        fields = json.loads(document)
        return cls(Owner(str(fields["host"]), int(fields["pid"])), frozenset(map(bytes.fromhex, fields["keys"])))

    def format(self) -> bytes:
        """Writes the document of the claim."""
        keys = sorted(key.hex() for key in self.keys)
        return json.dumps({"host": self.owner.host, "pid": self.owner.pid, "keys": keys}).encode()


class ClaimPlace(Protocol):
    """ClaimPlace is where writers leave their claims, a small document each. Its methods raise what `Claims.errors` lists."""

    def list_ages(self) -> Mapping[str, float]:
        """Lists the claims, with the seconds since each was written or renewed."""
        ...

    def read(self, name: str) -> bytes:
        """Reads a claim's document."""
        ...

    def create(self, name: str, document: bytes) -> bool:
        """Writes a claim, and says whether it did: not where there is one of that name."""
        ...

    def renew(self, name: str, document: bytes) -> None:
        """Makes a claim new again."""
        ...

    def remove(self, name: str) -> None:
        """Removes a claim; one that is gone is no error."""
        ...


@dataclass(frozen=True)
class ClaimFolder:
    """ClaimFolder keeps claims as files in `folder`, which is made when the first is written."""

    folder: Path

    def list_ages(self) -> Mapping[str, float]:
        """Lists the claims, with the seconds since each was written or renewed."""
        ages = {}
        with suppress(FileNotFoundError):
            for entry in os.scandir(self.folder):
                with suppress(FileNotFoundError):  # removed meanwhile
                    ages[entry.name] = time.time() - entry.stat().st_mtime
        return ages

    def read(self, name: str) -> bytes:
        """Reads a claim's document."""
        return (self.folder / name).read_bytes()

    def create(self, name: str, document: bytes) -> bool:
        """Writes a claim, and says whether it did: not where there is one of that name."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with (self.folder / name).open("xb") as file:
                file.write(document)
        except FileExistsError:
            return False
        return True

    def renew(self, name: str, document: bytes) -> None:
        """Makes a claim new again."""
        (self.folder / name).write_bytes(document)

    def remove(self, name: str) -> None:
        """Removes a claim; one that is gone is no error."""
        (self.folder / name).unlink(missing_ok=True)


@dataclass
class Claims:
    """Claims are those of one process at `place`, and what it knows of others'. Trouble there stops nobody: then nothing is claimed."""

    place: ClaimPlace
    errors: tuple[type[Exception], ...] = (OSError,)
    owner: Owner = field(default_factory=Owner.of_this_process)
    renew_after: float = RENEW_AFTER_S
    """Seconds between two renewals, at least."""
    _own: dict[str, Claim] = field(default_factory=dict)
    _others: dict[str, Claim] = field(default_factory=dict)
    _renewed: float = field(default_factory=time.monotonic)

    def find_claimed(self, keys: Collection[bytes]) -> set[bytes]:
        """Finds those of `keys` that another process, which may still live, is scoring. Forgets the claims of those that do not."""
        return self._attempt(lambda: self._find_claimed(keys), set())

    def _find_claimed(self, keys: Collection[bytes]) -> set[bytes]:
        ages = self.place.list_ages()
        self._others = {name: claim for name, claim in self._others.items() if name in ages}
        claimed: set[bytes] = set()
        for name in ages.keys() - self._own.keys():
            claim = self._others.get(name) or self._read(name)
            if ages[name] > LIFE_S or (claim is not None and claim.owner.is_gone()):
                self.place.remove(name)
            elif claim is not None:
                self._others[name] = claim
                claimed |= claim.keys
        return {key for key in keys if key[:KEY_BYTES] in claimed}

    def _read(self, name: str) -> Claim | None:
        """Reads another's claim; None for one that is gone, or is being written."""
        try:
            return Claim.parse(self.place.read(name))
        except (ValueError, KeyError, TypeError, FileNotFoundError):
            return None

    def add(self, keys: Collection[bytes]) -> None:
        """Claims `keys`, unless another process has claimed the very same at this moment."""
        claim = Claim(self.owner, frozenset(key[:KEY_BYTES] for key in keys))
        name = hashlib.sha256(b"".join(sorted(claim.keys))).hexdigest()[:32]
        if self._attempt(lambda: self.place.create(name, claim.format()), False):
            self._own[name] = claim

    def renew(self) -> None:
        """Says again that the claims hold, once a minute at most."""
        if time.monotonic() - self._renewed < self.renew_after:
            return
        self._renewed = time.monotonic()
        for name, claim in self._own.items():
            self._attempt(partial(self.place.renew, name, claim.format()), None)

    def release_keys(self, keys: Collection[bytes]) -> None:
        """Takes back the claims on `keys`, which are in the cache now, and on nothing else."""
        committed = {key[:KEY_BYTES] for key in keys}
        for name in [name for name, claim in self._own.items() if claim.keys <= committed]:
            del self._own[name]
            self._attempt(partial(self.place.remove, name), None)

    def release(self) -> None:
        """Takes all claims of this process back: what it has claimed is in the cache, or will not be scored."""
        for name in self._own:
            self._attempt(partial(self.place.remove, name), None)
        self._own = {}

    def _attempt(self, action: Callable[[], T], otherwise: T) -> T:
        try:
            return action()
        except self.errors:
            return otherwise
