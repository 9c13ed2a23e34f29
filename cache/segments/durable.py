"""Writes files and folders whole or not at all, and so that no power cut takes back what was acknowledged."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

FLUSH_THREADS = 8  # a journal commits what is flushed at the same time at once
NO_FOLDERS = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF}
"""Errors by which a file system says that it cannot flush a folder."""
EMPTY_DRIVE_CACHE: int | None = getattr(fcntl, "F_FULLFSYNC", None)  # macOS
WRITE_BARRIER: int | None = 85 if sys.platform == "darwin" else None
"""F_BARRIERFSYNC of macOS, where fsync lets the drive write what comes after before what came first."""


@contextlib.contextmanager
def whole_file(path: Path, beside: Path, durable: bool = True, private: bool = False) -> Iterator[BinaryIO]:
    """Opens a new file that appears at `path` whole or not at all: written at `beside`, flushed to the disk, and renamed.

    After an error nothing is left of it. Without `durable` it is not flushed: a power cut may leave it empty, a crash of
    the process never does. The rename itself outlives a power cut once the folder is flushed. What is `private`, only its
    user can read, from its first byte on.
    """
    try:
        with open(beside, "wb", opener=_open_private) if private else beside.open("wb") as file:
            yield file
            if durable:
                flush_file(file)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _open_private(path: str, flags: int) -> int:
    """Opens a new file that only its user can read, in the place of what a crash has left there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    return os.open(path, flags | os.O_EXCL, 0o600)


def flush_file(file: IO[bytes] | IO[str]) -> None:
    """Flushes an open file to the disk (fsync), with all that was written to it."""
    file.flush()
    flush_descriptor(file.fileno())


def flush_descriptor(descriptor: int) -> None:
    """Flushes the file or folder that is open as `descriptor`: nothing written later reaches the disk before it."""
    if WRITE_BARRIER is not None:
        with contextlib.suppress(OSError):  # a file system that has no barriers
            fcntl.fcntl(descriptor, WRITE_BARRIER)
            return
    os.fsync(descriptor)


def flush_tree(folder: Path) -> None:
    """Flushes every file and folder in the tree at `folder`, the files first."""
    from concurrent.futures import ThreadPoolExecutor  # here: every command imports this module, and few need threads

    tree = [(Path(parent), files) for parent, _, files in os.walk(folder)]
    with ThreadPoolExecutor(FLUSH_THREADS) as pool:
        list(pool.map(flush, [parent / name for parent, files in tree for name in files]))
        list(pool.map(flush, [parent for parent, _ in tree]))


def flush(path: Path) -> None:
    """Flushes a file, or a folder where the file system can: some networks' cannot, and keep names by themselves."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        flush_descriptor(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDERS or not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise
    finally:
        os.close(descriptor)


def flush_for_good(path: Path) -> None:
    """Flushes a file or folder, and on macOS also empties the drive's cache, which fsync does not do there.

    It is the flush before something is acknowledged, and covers all that was flushed before it. What is lost
    in a power cut before it, checksums find.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        flush(path)
        if EMPTY_DRIVE_CACHE is not None:
            with contextlib.suppress(OSError):  # a file system that cannot, a network's for one
                fcntl.fcntl(descriptor, EMPTY_DRIVE_CACHE)
    finally:
        os.close(descriptor)
