"""What prefd takes of the machine: disk and memory, looked at within a bounded time.

A home may hold millions of files. Their sizes are added up until the time is over, and what was found by then is told as a
lower bound; keeping a running total would be wrong after every crash and every `rm`.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from prefd.daemon.home.layout import Home

BUDGET_SECONDS = 0.04
"""For each folder: 5,000 files or so."""


@dataclass(frozen=True)
class DiskUsage:
    """The disk that the home is on."""

    free_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class HomeUsage:
    """What the home takes on disk."""

    cache_bytes: int
    runs_bytes: int
    complete: bool
    """Whether those are all: adding them up may have taken too long."""


@dataclass(frozen=True)
class WorkerMemory:
    """What the worker of one job holds."""

    job: int
    bytes: int


@dataclass(frozen=True)
class MemoryUsage:
    """The machine's memory, and what prefd holds of it."""

    available_bytes: int
    total_bytes: int
    daemon_bytes: int | None
    """None where no daemon runs."""
    workers: Sequence[WorkerMemory]


@dataclass(frozen=True)
class Usage:
    """What prefd takes of the machine."""

    disk: DiskUsage
    home: HomeUsage
    memory: MemoryUsage


def gather(home: Home, daemon: int | None = None, workers: Mapping[int, int] | None = None) -> Usage:
    """Look at the disk and at the processes: `daemon` is its pid, `workers` job → pid. One that is gone holds nothing."""
    disk = shutil.disk_usage(home.root)
    machine = psutil.virtual_memory()
    (cache, all_of_cache), (runs, all_of_runs) = (size_of(folder) for folder in (home.cache, home.runs))
    held = {job: memory_of(pid) for job, pid in (workers or {}).items()}
    return Usage(
        DiskUsage(disk.free, disk.total),
        HomeUsage(cache, runs, all_of_cache and all_of_runs),
        MemoryUsage(
            machine.available,
            machine.total,
            None if daemon is None else memory_of(daemon),
            [WorkerMemory(job, count) for job, count in held.items() if count is not None],
        ),
    )


def memory_of(pid: int) -> int | None:
    """Resident bytes of a process and of what it has started; None where it is gone."""
    try:
        process = psutil.Process(pid)
        total = int(process.memory_info().rss)
    except psutil.Error:
        return None
    with suppress(psutil.Error):
        for child in process.children(recursive=True):
            with suppress(psutil.Error):
                total += int(child.memory_info().rss)
    return total


def size_of(folder: Path, seconds: float | None = None) -> tuple[int, bool]:
    """Bytes on disk below `folder`, as far as they could be added up in time, and whether that is all of them."""
    deadline = time.monotonic() + (BUDGET_SECONDS if seconds is None else seconds)
    total, left = 0, [os.fspath(folder)]
    while left:
        try:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    if time.monotonic() > deadline:
                        return total, False
                    with suppress(OSError):  # gone since it was listed
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
                        if entry.is_dir(follow_symlinks=False):
                            left.append(entry.path)
        except OSError:
            continue
    return total, True
