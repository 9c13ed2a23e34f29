"""Notes which segments were removed from a mirror, and which keys they held.

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

from prefd.cache.segments.durable import flush, whole_file
from prefd.cache.segments.layout import chunk_path
from prefd.cache.sorted_entries import read_prefixes

FOLDER = "pruned"
SUFFIX = ".npz"


@dataclass(frozen=True, eq=False)
class Note:
    """Note holds the keys of one removed segment, as far as their prefixes tell."""

    prefixes: npt.NDArray[np.uint64]
    """(n,) the first 8 bytes of each key, sorted."""
    replaces: tuple[str, ...]
    """Ids of the segments that it had replaced, which must stay away too."""

    @classmethod
    def from_segment(cls, segment: Path) -> Note:
        """Makes the note of the segment folder at `segment`, damaged or not: an unreadable key is scored again."""
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
        return cls(np.sort(read_prefixes(keys)), names)

    def holds_any(self, prefixes: npt.NDArray[np.uint64]) -> bool:
        """Says whether it may have held a key with one of `prefixes`."""
        slots = self.prefixes.searchsorted(prefixes)
        return bool(len(self.prefixes)) and bool((self.prefixes.take(slots, mode="clip") == prefixes).any())


class Notes:
    """Reads and writes the notes of one reference, which other processes leave and drop too."""

    def __init__(self, reference: Path, staging: Path) -> None:
        self.folder = reference / FOLDER
        self.staging = staging
        self._notes: dict[str, Note] = {}

    def refresh(self) -> dict[str, Note]:
        """Reads the notes that are there now: segment id → its note."""
        try:
            files = [name for name in os.listdir(self.folder) if name.endswith(SUFFIX) and not name.startswith(".")]
        except FileNotFoundError:
            files = []
        ids = {name.removesuffix(SUFFIX) for name in files}
        self._notes = {name: note for name, note in self._notes.items() if name in ids}
        for name in ids - self._notes.keys():
            note = self._load(name)
            if note is not None:
                self._notes[name] = note
        return self._notes

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
        """Writes the note of segment `name`, flushed to the disk. Returns its size in bytes. Raises OSError."""
        self.staging.mkdir(exist_ok=True)
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"{name}{SUFFIX}"
        with whole_file(path, self.staging / f"{uuid.uuid4().hex}{SUFFIX}") as file:
            np.savez(file, prefixes=note.prefixes, replaces=np.array(note.replaces, dtype=np.str_))
            size = file.tell()
        flush(self.folder)
        return size

    def drop(self, names: Iterable[str]) -> None:
        """Deletes the notes of these segments."""
        for name in names:
            self._notes.pop(name, None)
            (self.folder / f"{name}{SUFFIX}").unlink(missing_ok=True)

    def find_holders(self, keys: Sequence[bytes]) -> list[str]:
        """Finds the segments that held any of `keys`, youngest first; none that another of them had replaced."""
        prefixes = read_prefixes(np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32))
        notes = {name: note for name, note in self.refresh().items() if note.holds_any(prefixes)}
        hidden = {name for note in notes.values() for name in note.replaces}
        return sorted(notes.keys() - hidden, reverse=True)
