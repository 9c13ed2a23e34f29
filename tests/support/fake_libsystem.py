"""A stand-in for macOS's system library, which answers what it is given, or of this machine's own processes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import psutil

from prefd.daemon.machine.darwin import ProcessFacts, ProcessUsage, Timebase

TICKS_A_SECOND = 24_000_000
"""Apple silicon's: a tick has 125/3 nanoseconds."""
NO_SUCH_PROCESS = -1

THERMAL_LEVEL = b"com.apple.system.thermalpressurelevel"


class FakeLibrary:
    """Answers as macOS's library does, from `find`: what there is to tell of a pid, or None."""

    def __init__(
        self, find: Callable[[int], ProcessFacts | None], settings: Mapping[bytes, bytes] | None = None
    ) -> None:
        self.find = find
        self.settings = dict(settings or {})
        self.thermal_level: int | None = 0

    def proc_pid_rusage(self, pid: Any, flavor: Any, usage: Any, /) -> int:
        """Fill the structure; -1 where there is no such process."""
        facts = self.find(pid.value)
        if facts is None or flavor != 0:
            return NO_SUCH_PROCESS
        filled = ctypes.cast(usage, ctypes.POINTER(ProcessUsage)).contents
        filled.start_abstime = round(facts.started * TICKS_A_SECOND)
        filled.phys_footprint = facts.footprint
        return 0

    def sysctlbyname(self, name: Any, old: Any, old_size: Any, new: Any, new_size: Any, /) -> int:
        """Copy the setting; -1 where there is none of that name."""
        value = self.settings.get(name)
        if value is None:
            return -1
        if isinstance(old, ctypes.Array):
            old.value = value
        else:
            ctypes.memmove(old, value, len(value))
        return 0

    def mach_timebase_info(self, timebase: Any, /) -> int:
        """Fill in Apple silicon's."""
        filled = ctypes.cast(timebase, ctypes.POINTER(Timebase)).contents
        filled.numerator, filled.denominator = 125, 3
        return 0

    def notify_register_check(self, name: Any, token: Any, /) -> int:
        """Give out a token for the thermal level, and for nothing else."""
        return 0 if name == THERMAL_LEVEL and self.thermal_level is not None else 1

    def notify_get_state(self, token: Any, state: Any, /) -> int:
        """Put the thermal level into `state`."""
        ctypes.cast(state, ctypes.POINTER(ctypes.c_uint64)).contents.value = self.thermal_level or 0
        return 0

    def notify_cancel(self, token: Any, /) -> int:
        """Take the token back."""
        return 0


def find_here(pid: int) -> ProcessFacts | None:
    """Tell of a process of this machine as macOS would."""
    try:
        process = psutil.Process(pid)
        return ProcessFacts(process.create_time() - psutil.boot_time(), int(process.memory_info().rss))
    except psutil.Error:
        return None
