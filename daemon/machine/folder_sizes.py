"""`measure_folder` adds up what is below a folder, in bytes on disk, as `du` does; `measure_in_time` does so as far as time allows."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

BLOCK_BYTES = 512
"""Bytes of one of `st_blocks`, whatever the file system's own blocks are."""


@dataclass(frozen=True)
class MeasuredFolder:
    """MeasuredFolder says what is below a folder, as far as it was looked at."""

    bytes: int
    complete: bool
    """Whether that is all of it."""


def measure_folder(folder: Path) -> int:
    """Add up the bytes on disk of what is below a folder."""
    return sum(_list_sizes(folder))


def measure_in_time(folder: Path, seconds: float) -> MeasuredFolder:
    """Add up the bytes on disk of what is below a folder, and stop after so many seconds."""
    deadline = time.monotonic() + seconds
    total = 0
    for size in _list_sizes(folder):
        if time.monotonic() > deadline:
            return MeasuredFolder(total, complete=False)
        total += size
    return MeasuredFolder(total, complete=True)


def measure_file(info: os.stat_result) -> int:
    """Return what a file takes on disk."""
    return info.st_blocks * BLOCK_BYTES


def _list_sizes(folder: Path) -> Iterator[int]:
    """Yield the size of each file and folder below. What is gone since it was listed takes nothing; no link is followed."""
    pending = [os.fspath(folder)]
    while pending:
        with suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    yield measure_file(entry.stat(follow_symlinks=False))
