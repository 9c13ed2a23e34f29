"""Tells how much heat slows a Mac, and when jobs that are not to run then stop and go on.

A running job stops at the pressure that macOS calls heavy (`ProcessInfo.thermalState` says "serious"); none starts before there is no
pressure at all. A job that went on as soon as the pressure fell a little would load its model again every few minutes.
"""

from __future__ import annotations

import ctypes
import sys

from prefd.daemon.machine import darwin

THERMAL_LEVEL = b"com.apple.system.thermalpressurelevel"
THERMAL_WORDS = {1: "moderate", 2: "heavy", 3: "trapping", 4: "sleeping"}
"""macOS's levels of thermal pressure; 0 is none."""
SERIOUS = 2
"""The level from which on heat costs much of the speed."""


def read_thermal_level() -> int | None:
    """Return macOS's level of thermal pressure; None where the system does not tell."""
    library = darwin.load_library() if sys.platform == "darwin" else None
    if library is None:
        return None
    token, level = ctypes.c_int(), ctypes.c_uint64()
    if library.notify_register_check(THERMAL_LEVEL, ctypes.byref(token)):
        return None
    try:
        failed = library.notify_get_state(token, ctypes.byref(level))
    finally:
        library.notify_cancel(token)
    return None if failed else level.value


def read_thermal_pressure() -> str | None:
    """Return in a word how much heat slows a Mac, "" where it does not; None where the system does not tell."""
    level = read_thermal_level()
    return None if level is None else THERMAL_WORDS.get(level, "" if level == 0 else f"level {level}")


def describe_heat(is_running: bool) -> str | None:
    """Say that heat slows the machine too much for a job to go on, or where none runs, to start; None where it does not."""
    level = read_thermal_level()
    if not level or (is_running and level < SERIOUS):
        return None
    return f"heat slows the machine (thermal pressure {read_thermal_pressure()}), and it is to cool down"
