"""Tells what the machine's power does to a job: its battery, whether it saves power, how long it slept, and how it is kept awake.

What a system does not tell is None, and `prefd doctor` says so. A laptop whose lid is closed on battery sleeps whatever it is asked.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

CAFFEINATE = Path("/usr/bin/caffeinate")
PMSET = Path("/usr/bin/pmset")
PMSET_SECONDS = 10.0
LOW_POWER = re.compile(r"^\s*(?:low)?powermode\s+(\d)", re.MULTILINE)
"""What pmset says of Low Power Mode: `lowpowermode 1`, or on Macs with a High Power Mode too, `powermode 1`."""
SYSTEMD_RUNS = Path("/run/systemd/system")
CLOCK_MONOTONIC_RAW, CLOCK_UPTIME_RAW = 4, 8
"""macOS's: the first goes on while the machine sleeps, the second does not."""


@dataclass(frozen=True)
class Battery:
    """Battery holds the charge of a machine that runs on one, or could."""

    percent: float
    is_plugged: bool
    """Whether it is charged, or kept, by the mains."""


def read_battery() -> Battery | None:
    """Return the machine's battery; None where it has none, or the system does not tell."""
    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError, RuntimeError, ValueError):
        return None
    return None if battery is None else Battery(battery.percent, battery.power_plugged is not False)


def describe_low_battery(floor: int) -> str | None:
    """Say that the machine is on battery with less than `floor` percent; None where it is not, or the floor is 0."""
    battery = read_battery() if floor else None
    if battery is None or battery.is_plugged or battery.percent >= max(floor, 1) + (floor == 100):
        return None
    return f"the machine is on battery, at {battery.percent:.0f} % (worker.on_battery is {floor})"


def is_low_power() -> bool | None:
    """Return whether a Mac is in Low Power Mode now, in which its GPU has about half its speed; None where the system does not tell."""
    if sys.platform != "darwin" or not PMSET.exists():
        return None
    try:
        settings = subprocess.run(
            [str(PMSET), "-g"], stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", check=False, timeout=PMSET_SECONDS
        ).stdout  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = LOW_POWER.search(settings)
    return None if match is None else match[1] == "1"


def read_slept_seconds() -> float | None:
    """Return for how many seconds the machine has slept since it was started; None where the system does not tell."""
    try:
        if sys.platform == "darwin":
            return max(0.0, time.clock_gettime(CLOCK_MONOTONIC_RAW) - time.clock_gettime(CLOCK_UPTIME_RAW))
        if sys.platform == "linux":
            return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC))
    except OSError:
        pass
    return None


def list_keepers(pid: int) -> list[list[str]]:
    """List the commands that keep the machine from falling asleep by itself while the process `pid` runs, best first.

    Each ends when the process does. Where none is, nothing can.
    """
    if sys.platform == "darwin":  # never -d: a display that is on has Metal end long passes
        return [[str(CAFFEINATE), "-i", "-w", str(pid)]] if CAFFEINATE.exists() else []
    inhibit, tail = shutil.which("systemd-inhibit"), shutil.which("tail")
    if inhibit is None or tail is None or not SYSTEMD_RUNS.is_dir():
        return []
    waiting = ["--who=prefd", "--why=a job runs", "--mode=block", tail, f"--pid={pid}", "-f", "/dev/null"]
    return [[inhibit, f"--what={what}", *waiting] for what in ("sleep:idle", "idle")]  # the second needs no right


def keep_awake_from_here() -> threading.Thread:
    """Keep the machine awake for as long as this process runs, by a thread: on a machine that no daemon does it for."""
    thread = threading.Thread(target=_keep_awake, args=(list_keepers(os.getpid()),), name="keeping awake", daemon=True)
    thread.start()
    return thread


def _keep_awake(keepers: list[list[str]]) -> None:
    """Run the first of the commands that works; it ends with the process that it names."""
    for command in keepers:
        with suppress(OSError):
            nothing = subprocess.DEVNULL
            if subprocess.run(command, stdin=nothing, stdout=nothing, stderr=nothing, check=False).returncode == 0:
                return


def describe_keeping(pid: int = 0) -> str:
    """Say in words how this machine is kept awake, or that nothing can."""
    keepers = list_keepers(pid)
    return (
        f"kept awake by {Path(keepers[0][0]).name} while a job runs" if keepers else "not kept awake: nothing here can"
    )
