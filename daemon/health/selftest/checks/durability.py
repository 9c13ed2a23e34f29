"""Measures how long a file takes to be safe on the disk that the home is on; every checkpoint waits for it."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from statistics import median

from prefd.cache.segments.durable import flush_file, flush_for_good
from prefd.daemon.health.selftest.playground import Playground
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.mounts import find_mount
from prefd.daemon.worker_tasks.check_results import CheckResult

REPEATS = 20
MOST_SECONDS = 2.0
"""For one file of 64 KiB: a checkpoint has some five, and a job may save one each minute."""
CONTENT = os.urandom(2**16)


def check(_: Playground, home: Home) -> CheckResult:
    """Write and flush files beside the home's own, where there is one, else in the temporary folder."""
    place = home.root if os.access(home.root, os.W_OK) else Path(tempfile.gettempdir())
    with tempfile.TemporaryDirectory(prefix=".selftest-", dir=place) as folder:
        seconds = [write_safely(Path(folder) / str(number)) for number in range(REPEATS)]
    mount = find_mount(place)
    numbers = {"median_ms": round(1000 * median(seconds), 2), "max_ms": round(1000 * max(seconds), 2)}
    where = f"{'the home' if place == home.root else 'the temporary folder'}{f' ({mount.describe()})' if mount else ''}"
    finding = f"a file is safe after {numbers['median_ms']:g} ms (at most {numbers['max_ms']:g}) in {where}"
    if median(seconds) > MOST_SECONDS:
        return CheckResult(
            outcome="failed",
            finding=f"slow: {finding}",
            numbers=numbers,
            remedy="put the home on another disk (--home or PREFD_HOME), or save checkpoints more rarely (training.save_every)",
        )
    return CheckResult(outcome="ok", finding=finding, numbers=numbers)


def write_safely(path: Path) -> float:
    """Write a file, flush it and its folder as the cache does before it says that something is kept, and return the seconds."""
    began = time.perf_counter()
    with path.open("wb") as file:
        file.write(CONTENT)
        flush_file(file)
    flush_for_good(path.parent)
    return time.perf_counter() - began
