"""Asks macOS's own library for what psutil does not tell of a process: what it takes of memory, and when it started.

psutil's resident size leaves out what only the GPU has mapped, and what was compressed; its start times follow the clock.
The calls are those of <libproc.h>, <sys/sysctl.h>, <mach/mach_time.h> and <notify.h>, and need no right that a user lacks for processes
of his own.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

LIBRARY = "/usr/lib/libSystem.B.dylib"
RUSAGE_INFO_V0 = 0
TEXT_BYTES = 64
"""Room for an id of the kernel's, which has 37."""


class ProcessUsage(ctypes.Structure):
    """ProcessUsage is the `struct rusage_info_v0` of <sys/resource.h>."""

    _fields_ = (
        ("uuid", ctypes.c_uint8 * 16),
        ("user_time", ctypes.c_uint64),
        ("system_time", ctypes.c_uint64),
        ("idle_wakeups", ctypes.c_uint64),
        ("interrupt_wakeups", ctypes.c_uint64),
        ("pageins", ctypes.c_uint64),
        ("wired_size", ctypes.c_uint64),
        ("resident_size", ctypes.c_uint64),
        ("phys_footprint", ctypes.c_uint64),
        ("start_abstime", ctypes.c_uint64),
        ("exit_abstime", ctypes.c_uint64),
    )


class Timebase(ctypes.Structure):
    """Timebase is the `struct mach_timebase_info`: how many nanoseconds a tick of the machine's absolute time has, as a fraction."""

    _fields_ = (("numerator", ctypes.c_uint32), ("denominator", ctypes.c_uint32))


class SystemLibrary(Protocol):
    """SystemLibrary holds the functions that are called of macOS's library. Those with an int return 0 on success."""

    def proc_pid_rusage(self, pid: Any, flavor: Any, usage: Any, /) -> int:
        """Fill `usage` with what the process has used; it fails where there is no such process, or it is another user's."""

    def sysctlbyname(self, name: Any, old: Any, old_size: Any, new: Any, new_size: Any, /) -> int:
        """Copy the value of a setting of the kernel into `old`."""

    def mach_timebase_info(self, timebase: Any, /) -> int:
        """Fill `timebase`."""

    def notify_register_check(self, name: Any, token: Any, /) -> int:
        """Put into `token` what stands for a notification of that name."""

    def notify_get_state(self, token: Any, state: Any, /) -> int:
        """Put into `state` the number that the notification's sender has set."""

    def notify_cancel(self, token: Any, /) -> int:
        """Give the token back."""


@dataclass(frozen=True)
class ProcessFacts:
    """ProcessFacts holds what macOS tells of one process."""

    started: float
    """When it started, in seconds since the boot; neither a clock that is set nor the machine's sleep changes it."""
    footprint: int
    """The bytes of memory that the process is charged with, those that only the GPU sees and compressed ones too."""


@cache
def load_library() -> SystemLibrary | None:
    """Load macOS's library; None on another system."""
    try:
        library: SystemLibrary = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    return library


def read_facts(pid: int) -> ProcessFacts | None:
    """Return what macOS tells of the process; None where there is none, it is another user's, or this is no Mac."""
    library, usage, timebase = load_library(), ProcessUsage(), Timebase()
    if library is None or library.proc_pid_rusage(ctypes.c_int(pid), RUSAGE_INFO_V0, ctypes.byref(usage)):
        return None
    if library.mach_timebase_info(ctypes.byref(timebase)) or not timebase.denominator:
        return None
    nanoseconds = usage.start_abstime * timebase.numerator / timebase.denominator
    return ProcessFacts(nanoseconds / 1e9, int(usage.phys_footprint))


def read_boot_id() -> str:
    """Return the id that the kernel gave to this boot; "" where it does not tell."""
    return read_text(b"kern.bootsessionuuid")


def read_text(name: bytes) -> str:
    """Return a setting of the kernel that is a short text; "" where it does not tell."""
    library = load_library()
    value = ctypes.create_string_buffer(TEXT_BYTES)
    size = ctypes.c_size_t(TEXT_BYTES)
    if library is None or library.sysctlbyname(name, value, ctypes.byref(size), None, 0):
        return ""
    return value.value.decode("ascii", "replace")


def read_number(name: bytes) -> int | None:
    """Return a setting of the kernel that is a 32-bit number; None where it does not tell."""
    library, value, size = load_library(), ctypes.c_int32(), ctypes.c_size_t(4)
    if library is None or library.sysctlbyname(name, ctypes.byref(value), ctypes.byref(size), None, 0):
        return None
    return value.value
