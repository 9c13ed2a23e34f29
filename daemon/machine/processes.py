"""Processes seen from outside: how a worker is started, and any process recognised and ended.

A pid alone names nobody for long, so a process is a pid and the time it started.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

WORKER: tuple[str, ...] = (sys.executable, "-P", "-m", "prefd.daemon.worker")
"""-P: a worker runs in a job's folder, which must not become a place to import from."""

SAME_HASHES = {"PYTHONHASHSEED": "0"}
"""Part of every worker's environment: a chat template in Python that goes through a set finds one order in all of them."""


@dataclass(frozen=True)
class ProcessId:
    """On Linux `started` is counted in seconds since the boot `boot`: the clock may be set, and no start time moves.

    Elsewhere, and in databases of earlier versions, `boot` is "" and `started` Unix time, as the system keeps it.
    """

    pid: int
    started: float
    boot: str = ""

    @classmethod
    def find(cls, pid: int) -> ProcessId | None:
        """The process that has this pid now."""
        boot = boot_id()
        started = _started(pid, boot)
        return None if started is None else cls(pid, started, boot)

    def is_alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        if self.boot not in ("", boot_id()):
            return False
        started = _started(self.pid, self.boot)
        try:
            same = started is not None and abs(started - self.started) < (0.001 if self.boot else 1)
            return same and psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send `number` to the process's group, which it leads; nothing when it is gone."""
        if self.is_alive():
            signal_group(self.pid, number)


@cache
def boot_id() -> str:
    """Which boot of this machine it is, where start times are counted from it; "" elsewhere."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int, boot: str) -> float | None:
    """When `pid` started, in seconds since the boot, or in Unix time where `boot` is ""; None where there is none."""
    try:
        if not boot:
            return float(psutil.Process(pid).create_time())
        # psutil adds the time of the boot, which follows the clock. Field 22, after the name, which may hold anything.
        ticks = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19]
        return int(ticks) / os.sysconf("SC_CLK_TCK")
    except (OSError, psutil.Error):
        return None


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send `number` to the group that `pid` leads; nothing when it is gone."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a zombie's group
        return


async def end_process(process: ProcessId, grace: float) -> bool:
    """SIGTERM, and SIGKILL when it still runs after `grace` seconds. True when it is gone."""
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        process.signal(number)
        deadline = time.monotonic() + patience
        while process.is_alive() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        if not process.is_alive():
            return True
    return False
