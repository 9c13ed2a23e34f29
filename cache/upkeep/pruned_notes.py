"""What a mirror remembers of the segments that were removed from it: which they were, and which keys they held.

A mirror fetches what the object store has. Without a note it would fetch back what was pruned; with one it does so when
a job asks for one of the keys. A note is one small file, 8 bytes an entry; a lost or damaged one costs a fetch.
"""

from __future__ import annotations

import json
import os
import uuid
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from prefd.cache.index import prefixes_of
from prefd.cache.segments.durable import flush, whole_file
from prefd.cache.segments.layout import chunk_path

FOLDER = "pruned"
SUFFIX = ".npz"


@dataclass(frozen=True, eq=False)
class Note:
    prefixes: npt.NDArray[np.uint64]
    """(n,) the first 8 bytes of each key, sorted."""
    replaces: tuple[str, ...]
    """What it had replaced, which must stay away too."""

    @classmethod
    def of(cls, segment: Path) -> Note:
        """Of the segment folder at `segment`, damaged ones too: a key that cannot be read is scored again."""
        try:
            data = chunk_path(segment, "key").read_bytes()
        except OSError:
            data = b""
        keys = np.frombuffer(data[: len(data) // 32 * 32], np.uint8).reshape(-1, 32)
        try:
            replaces = json.loads((segment / "zarr.json").read_bytes())["attributes"]["replaces"]
            names = tuple(str(name) for name in replaces)
        except (OSError, ValueError, KeyError, TypeError):
            names = ()
        return cls(np.sort(prefixes_of(keys)), names)

    def holds_any(self, wanted: npt.NDArray[np.uint64]) -> bool:
        at = self.prefixes.searchsorted(wanted)
        return bool(len(self.prefixes)) and bool((self.prefixes.take(at, mode="clip") == wanted).any())


class Notes:
    """The notes of one reference, as other processes leave and drop them."""

    def __init__(self, reference: Path, staging: Path) -> None:
        self.folder = reference / FOLDER
        self.staging = staging
        self._read: dict[str, Note] = {}

    def refresh(self) -> dict[str, Note]:
        """Segment id → its note."""
        try:
            files = [name for name in os.listdir(self.folder) if name.endswith(SUFFIX)]
        except FileNotFoundError:
            files = []
        there = {name.removesuffix(SUFFIX) for name in files}
        self._read = {name: note for name, note in self._read.items() if name in there}
        for name in there - self._read.keys():
            note = self._load(name)
            if note is not None:
                self._read[name] = note
        return self._read

    def _load(self, name: str) -> Note | None:
        try:
            with (self.folder / f"{name}{SUFFIX}").open("rb") as file, np.load(file) as arrays:
                return Note(arrays["prefixes"].astype(np.uint64), tuple(arrays["replaces"].tolist()))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, NotImplementedError):
            self.drop([name])
            return None

    def leave(self, name: str, note: Note) -> int:
        """Write a note, flushed. Returns its bytes. Raises OSError."""
        self.staging.mkdir(exist_ok=True)
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"{name}{SUFFIX}"
        with whole_file(path, self.staging / f"{uuid.uuid4().hex}{SUFFIX}") as file:
            np.savez(file, prefixes=note.prefixes, replaces=np.array(note.replaces, dtype=np.str_))
            size = file.tell()
        flush(self.folder)
        return size

    def drop(self, names: Iterable[str]) -> None:
        for name in names:
            self._read.pop(name, None)
            (self.folder / f"{name}{SUFFIX}").unlink(missing_ok=True)

    def holding(self, keys: Sequence[bytes]) -> list[str]:
        """The segments that held any of `keys`, youngest first: of those that one of them had replaced, only that one."""
        wanted = prefixes_of(np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32))
        found = {name: note for name, note in self.refresh().items() if note.holds_any(wanted)}
        hidden = {name for note in found.values() for name in note.replaces}
        return sorted(found.keys() - hidden, reverse=True)
