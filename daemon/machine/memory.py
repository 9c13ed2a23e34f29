"""The functions here measure memory, and tell that it ran out by the words of libraries and the kills the system counts."""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path

import psutil

from prefd.daemon.machine import darwin
from prefd.daemon.machine.cgroups import memory_groups

OUT_OF_MEMORY = re.compile(
    r"MemoryError|std::bad_alloc|unable to allocate|attempting to allocate|Cannot allocate memory|Insufficient Memory"
    r"|out of memory|OutOfMemory",
    re.IGNORECASE,
)
"""The words of Python, C++, MLX on a CPU, Metal and CUDA when there is no memory left."""


PRESSURE_LEVEL = b"kern.memorystatus_vm_pressure_level"
PRESSURE_WORDS = {1: "", 2: "high", 4: "critical"}
"""macOS's levels of memory pressure, as Activity Monitor colours them: green, yellow, red."""
CRITICAL = "critical"


def private_bytes(process: psutil.Process) -> int:
    """Return the bytes of memory that are the process's own.

    On Linux files that are only mapped are left out: the system drops them when it needs room. On macOS it is the footprint,
    which has what only the GPU sees.
    """
    if sys.platform == "linux":
        memory = process.memory_info()
        return int(memory.rss - memory.shared)
    return held_bytes(process)


def held_bytes(process: psutil.Process) -> int:
    """Return the bytes of memory that the process holds: its footprint on macOS, what is resident elsewhere. Raises psutil.Error."""
    if sys.platform == "darwin" and (facts := darwin.read_facts(process.pid)) is not None:
        return facts.footprint
    return int(process.memory_info().rss)


def read_pressure() -> str | None:
    """Return in a word how short of memory a Mac is, "" where it is not; None where the system does not tell."""
    level = darwin.read_number(PRESSURE_LEVEL) if sys.platform == "darwin" else None
    return None if level is None else PRESSURE_WORDS.get(level, f"level {level}")


def measure_swap() -> int:
    """Return how many bytes a Mac has swapped out; 0 on other systems, which are not asked."""
    if sys.platform != "darwin":
        return 0
    try:
        return int(psutil.swap_memory().used)
    except (OSError, RuntimeError):
        return 0


def count_kills() -> int:
    """Count the processes that the system, or this process's own group, has killed for want of memory.

    0 where the system does not count them.
    """
    return sum(_count(path, "oom_kill") for path in _counters())


def _counters() -> list[Path]:
    return [Path("/proc/vmstat"), *(groups[0].events for groups in memory_groups())]


def _count(path: Path, name: str) -> int:
    try:
        counts = dict(line.split() for line in path.read_text().splitlines())
        return int(counts.get(name, 0))
    except (OSError, ValueError):
        return 0


def return_free_memory() -> None:
    """Give memory that was freed back to the system, where the C library keeps it otherwise: glibc does, in pieces between others."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
