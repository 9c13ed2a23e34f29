"""The functions here bound the length of a worker's log, `runs/<id>/worker.log`, and read its last lines."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from prefd.daemon.machine.files import read_end

WORKER_LOG_BYTES = 32_000_000
"""A worker's log is cut at this length; its former content is kept once, as `worker.log.1`."""


def bound_log(log: Path, limit: int | None = None) -> bool:
    """Cuts a log that another process appends to, once it is longer than `limit` bytes (WORKER_LOG_BYTES); True if it did.

    Its content is kept beside it, as far as the disk has room. Lines written at that very moment may be lost.
    """
    limit = WORKER_LOG_BYTES if limit is None else limit
    try:
        if log.stat().st_size <= limit:
            return False
    except OSError:
        return False
    with suppress(OSError):
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
    note = f"{time.strftime('%Y-%m-%d %H:%M:%S')} this log was longer than {limit:,} bytes; it goes on here\n"
    with suppress(OSError):
        os.truncate(log, 0)
        with log.open("a", encoding="utf-8") as file:
            file.write(note)
    return True


def read_tail(log: Path, lines: int = 8, since: int = 0, limit: int = 2000) -> str:
    """Reads the last `lines` lines of a log that were written after byte `since`, at most `limit` bytes of them."""
    try:
        with log.open("rb") as file:
            data, _ = read_end(file, limit, since)
    except OSError:
        return ""
    log_lines = [line.rstrip() for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
    return "\n".join("".join(char if char.isprintable() else " " for char in line) for line in log_lines[-lines:])
