"""Worker processes seen from outside: how one is recognised and ended, and what its end means.

A pid alone names nobody for long, so a process is a pid and the time it started.
"""

from __future__ import annotations

import asyncio
import fcntl
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

STOPPED = 75
"""A worker's exit code when it was told to stop and has saved its state."""

NO_ROOM = 74
"""And when the disk takes no more of what it has to write."""


@dataclass(frozen=True)
class ProcessId:
    """On Linux `started` is counted in seconds since the boot `boot`: the clock may be set, and no start time moves.

    Elsewhere, and in databases of earlier versions, `boot` is "" and `started` Unix time, as the system keeps it.
    """

    pid: int
    started: float
    boot: str = ""

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
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


def lock_worker(path: Path) -> int | None:
    """A descriptor with the lock on `path`, to be inherited by a worker; None while another worker has it.

    The kernel drops the lock when the last process that holds the descriptor ends, however it ends. So a job never
    has two workers, even when a daemon dies before it could write down the pid of the one it started.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send `number` to the group that `pid` leads; nothing when it is gone."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a zombie's group
        return


async def end(process: ProcessId, grace: float) -> bool:
    """SIGTERM, and SIGKILL when it still runs after `grace` seconds. True when it is gone."""
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        process.signal(number)
        deadline = time.monotonic() + patience
        while process.is_alive() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        if not process.is_alive():
            return True
    return False


def why_it_ended(returncode: int, log: Path, since: int = 0) -> str:
    """The end of a worker that left no outcome, in words, with the last lines it logged after byte `since`."""
    if returncode == -signal.SIGKILL:
        cause = "the worker was killed by SIGKILL, which neither prefd nor, as far as it tells, the system sent"
    elif returncode < 0:
        cause = f"the worker died of {_signal_name(-returncode)}"
    elif returncode == 0:
        cause = "the worker ended without saying how it went"
    else:
        cause = f"the worker ended with exit code {returncode} and did not say why"
    last = tail(log, since=since)
    return f"{cause}; its log ends:\n{last}" if last else f"{cause}; its log is empty"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def tail(log: Path, lines: int = 8, since: int = 0, limit: int = 2000) -> str:
    """The last `lines` lines of a log written after byte `since`, at most `limit` bytes of them."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(since if since <= size else 0, size - limit))  # shorter than it was: it has been cut
            text = file.read(limit).decode("utf-8", "replace")
    except OSError:
        return ""
    kept = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join("".join(char if char.isprintable() else " " for char in line) for line in kept[-lines:])
