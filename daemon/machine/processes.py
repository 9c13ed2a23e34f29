"""ProcessId recognises a process by its pid and the time it started, and `end_process` ends one.

A pid alone does not name a process for long: the system gives it to another one later.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from prefd.daemon.machine import darwin
from prefd.daemon.machine.interpreter import PYTHON

REMARK = re.compile(r"\d{4}-\d\d-\d\d \S+ (WARNING|INFO|DEBUG) ")
"""The start of a line of a worker's log that tells of no error: that there is no fast BLAS, say."""

MOST_WORDS = 300
"""Characters of the last line of a process that ended."""


@dataclass(frozen=True)
class ProcessId:
    """ProcessId is one process, by its pid and when it started.

    On Linux and macOS `started` is counted in seconds since the boot `boot`, so that it stays the same when the clock is set.
    Elsewhere, and in databases of earlier versions, `boot` is "" and `started` Unix time, as the system keeps it.
    """

    pid: int
    started: float
    boot: str = ""

    @classmethod
    def find(cls, pid: int) -> ProcessId | None:
        """Return the process that has this pid now; None where there is none."""
        boot = boot_id()
        started = _started(pid, boot)
        return None if started is None else cls(pid, started, boot)

    @classmethod
    def find_self(cls) -> ProcessId:
        """Return the process that asks."""
        return cls.find(os.getpid()) or cls(os.getpid(), 0.0)

    def is_alive(self) -> bool:
        """Return whether this very process still runs (a zombie does not)."""
        if self.boot not in ("", boot_id()):
            return False
        started = _started(self.pid, self.boot)
        try:
            same = started is not None and abs(started - self.started) < (0.001 if self.boot else 1)
            return same and psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def works_in(self, folder: Path) -> bool:
        """Return whether this very process runs, and has `folder` as its working folder, under whatever name.

        Pids are written into files that people copy: a process that works elsewhere is another home's.
        """
        if not self.is_alive():
            return False
        try:
            return os.path.samefile(psutil.Process(self.pid).cwd(), folder)
        except (OSError, psutil.Error):  # the folder was removed, or the process is not this user's
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send `number` to the process's group, which it leads; nothing when it is gone."""
        if self.is_alive():
            signal_group(self.pid, number)


@cache
def boot_id() -> str:
    """Return the id of this boot of the machine, where start times are counted from the boot; "" elsewhere."""
    if sys.platform == "darwin":
        return darwin.read_boot_id()
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int, boot: str) -> float | None:
    """Return when `pid` started, in seconds since the boot, or in Unix time where `boot` is ""; None for no such process."""
    try:
        if not boot:
            return float(psutil.Process(pid).create_time())
        if sys.platform == "darwin":
            facts = darwin.read_facts(pid)
            return None if facts is None else facts.started
        # psutil adds the time of the boot, which follows the clock. Field 22, after the name, which may hold anything.
        ticks = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19]
        return int(ticks) / os.sysconf("SC_CLK_TCK")
    except (OSError, psutil.Error):
        return None


def restart_in_utf8_mode() -> None:
    """Begin this process of `prefd` anew in Python's UTF-8 mode, where the locale gives files' names another encoding.

    The process keeps its pid, which a service manager knows.
    """
    if not sys.flags.utf8_mode and sys.getfilesystemencoding() != "utf-8":
        os.execv(sys.executable, [*PYTHON, "-m", "prefd.daemon.cli", *sys.argv[1:]])


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send `number` to the group that `pid` leads; nothing when it is gone."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a zombie's group
        return


def describe_exit(returncode: int) -> str:
    """Describe how a process ended: `SIGSEGV`, or `exit code 3`."""
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def find_last_words(stderr: str) -> str:
    """Return the last line that a worker wrote to stderr and that is no remark; empty where there is none."""
    lines = [line for line in stderr.splitlines() if line.strip() and not REMARK.match(line)]
    return lines[-1].strip()[:MOST_WORDS] if lines else ""


async def end_process(process: ProcessId, grace: float) -> bool:
    """End the process by SIGTERM, and by SIGKILL when it still runs after `grace` seconds. True when it is gone."""
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        process.signal(number)
        deadline = time.monotonic() + patience
        while process.is_alive() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        if not process.is_alive():
            return True
    return False
