"""Measures what prefd takes of the machine, disk and memory, within a bounded time.

A home may hold millions of files. Their sizes are added up until the time is over, and what was found by then is told as a
lower bound; keeping a running total would be wrong after every crash and every `rm`.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

from prefd.daemon.home.layout import Home
from prefd.daemon.machine.folder_sizes import measure_in_time
from prefd.daemon.machine.memory import held_bytes

BUDGET_SECONDS = 0.04
"""For each folder: 5,000 files or so."""


@dataclass(frozen=True)
class DiskUsage:
    """DiskUsage is the room on the disk that the home is on."""

    free_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class HomeUsage:
    """HomeUsage is what the home takes on disk."""

    cache_bytes: int
    runs_bytes: int
    complete: bool
    """Whether those are all: adding them up may have taken too long."""


@dataclass(frozen=True)
class WorkerMemory:
    """WorkerMemory is what the worker of one job holds."""

    job: int
    bytes: int


@dataclass(frozen=True)
class MemoryUsage:
    """MemoryUsage is the machine's memory, and what prefd holds of it."""

    available_bytes: int
    total_bytes: int
    daemon_bytes: int | None
    """None where no daemon runs."""
    workers: Sequence[WorkerMemory]
    page_bytes: int | None = None
    """None where no page is served."""


@dataclass(frozen=True)
class Usage:
    """Usage is what prefd takes of the machine."""

    disk: DiskUsage
    home: HomeUsage
    memory: MemoryUsage


def measure_usage(
    home: Home, daemon: int | None = None, workers: Mapping[int, int] | None = None, page: int | None = None
) -> Usage:
    """Measures the disk and the processes: `daemon` and `page` are pids, `workers` job → pid. What has ended holds nothing."""
    disk = shutil.disk_usage(home.root)
    machine = psutil.virtual_memory()
    cache, runs = (measure_in_time(folder, BUDGET_SECONDS) for folder in (home.cache, home.runs))
    bytes_by_job = {job: measure_memory(pid) for job, pid in (workers or {}).items()}
    return Usage(
        DiskUsage(disk.free, disk.total),
        HomeUsage(cache.bytes, runs.bytes, cache.complete and runs.complete),
        MemoryUsage(
            machine.available,
            machine.total,
            None if daemon is None else measure_memory(daemon, [*(workers or {}).values(), *([page] if page else [])]),
            [WorkerMemory(job, count) for job, count in bytes_by_job.items() if count is not None],
            None if page is None else measure_memory(page),
        ),
    )


def measure_memory(pid: int, apart: Collection[int] = ()) -> int | None:
    """Adds up the bytes that a process and what it has started hold, but for `apart` and theirs; None where it has ended."""
    try:
        total = held_bytes(psutil.Process(pid))
    except psutil.Error:
        return None
    excluded = {each.pid for root in apart for each in list_descendants(root)} | set(apart)
    for child in list_descendants(pid):
        if child.pid not in excluded:
            with suppress(psutil.Error):
                total += held_bytes(child)
    return total


def list_descendants(pid: int) -> list[psutil.Process]:
    """Lists what a process has started, and what that has; nothing where it has ended."""
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.Error:
        return []
