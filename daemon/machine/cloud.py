"""Tells which files of a cloud's folder are on this Mac by their names alone, and asks for their contents.

iCloud Drive, and the clouds below Library/CloudStorage, take contents off the disk when it gets full. Since macOS 14 such a file
keeps its name and its size, and has a flag; before, a small file `.pairs.jsonl.icloud` lay in its place. A process that reads it waits until
it has been downloaded; without a network that takes for ever, or ends with "Resource deadlock avoided".
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

SF_DATALESS = 0x40000000
"""The flag of a file of which only the name is on this Mac."""
PLACEHOLDER_PREFIX, PLACEHOLDER_SUFFIX = ".", ".icloud"
BY_HAND = "open it once in Finder, or choose Download Now there"
IN_CLOUD = f"is in the cloud and not on this Mac: {BY_HAND}"
ASKED_FOR = f"is in the cloud and not on this Mac: it is asked for, and waited for; if it does not come, {BY_HAND}"
MOST_REQUESTS = 4
"""How many threads may wait for contents at a time."""

CLOUD_FOLDERS = ("Library/Mobile Documents", "Library/CloudStorage")
"""Where macOS keeps iCloud Drive, and the other clouds, below a user's own folder."""
CAN_EVICT = sys.platform == "darwin"
"""Whether this system has files of which only the name is on this machine."""

_requested: set[Path] = set()
_requests_lock = threading.Lock()


class InCloud(OSError):
    """The contents of `path` are not on this Mac: what its read would end with, told before it waits. `words` go on after the path."""

    def __init__(self, path: Path, words: str) -> None:
        super().__init__(errno.EDEADLK, words, str(path))

    def __str__(self) -> str:
        return f"{self.filename} {self.strerror}"


def is_dataless(info: os.stat_result) -> bool:
    """Return whether the file's contents would have to be downloaded first, as of one that iCloud has taken off the disk."""
    return bool(_get_flags(info) & SF_DATALESS)


def _get_flags(info: os.stat_result) -> int:
    return getattr(info, "st_flags", 0)


def is_in_cloud_folder(path: Path) -> bool:
    """Return whether macOS may take the file's contents off the disk, as far as its place tells."""
    return CAN_EVICT and any(path.is_relative_to(Path.home() / name) for name in CLOUD_FOLDERS)


def find_placeholder(path: Path) -> Path | None:
    """Return the file that stands for `path`, which is not there but in the cloud; None where there is none such."""
    if path.exists():
        return None
    placeholder = path.with_name(f"{PLACEHOLDER_PREFIX}{path.name}{PLACEHOLDER_SUFFIX}")
    return placeholder if placeholder.exists() else None


def find_named(placeholder: str) -> str | None:
    """Return the name of the file that one of this name stands for; None for the name of any other file."""
    if not (placeholder.startswith(PLACEHOLDER_PREFIX) and placeholder.endswith(PLACEHOLDER_SUFFIX)):
        return None
    return placeholder[len(PLACEHOLDER_PREFIX) : -len(PLACEHOLDER_SUFFIX)] or None


def list_named(folder: Path) -> Iterator[Path]:
    """Yield the files in and below a folder that are in the cloud, and have something standing for them here."""
    if CAN_EVICT:
        for path in folder.rglob(f"{PLACEHOLDER_PREFIX}*{PLACEHOLDER_SUFFIX}"):
            if name := find_named(path.name):
                yield path.with_name(name)


def list_in_cloud(files: Iterable[Path]) -> Iterator[Path]:
    """Yield those of the files whose contents are not on this Mac; none on another system, whose files always are there."""
    if CAN_EVICT:
        for path in files:
            if (path.exists() and is_dataless(path.stat())) or find_placeholder(path) is not None:
                yield path


def find_in_cloud(files: Iterable[Path]) -> Path | None:
    """Return the first of the files whose contents are not on this Mac."""
    return next(list_in_cloud(files), None)


def request_download(path: Path) -> None:
    """Have the file's contents downloaded: a thread reads of it, and waits as long as that takes. Nothing where one does already."""
    with _requests_lock:
        if path in _requested or len(_requested) >= MOST_REQUESTS:
            return
        _requested.add(path)
    threading.Thread(target=_read_and_forget, args=(path,), name=f"download of {path.name}", daemon=True).start()


def _read_and_forget(path: Path) -> None:
    try:
        with suppress(OSError):
            _read_byte(path)
    finally:
        with _requests_lock:
            _requested.discard(path)


def _read_byte(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.read(descriptor, 1)
    finally:
        os.close(descriptor)
