"""The functions here bound the length of a worker's log, `runs/<id>/worker.log`, and read lines of it."""

from __future__ import annotations

import os
import re
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prefd.daemon.machine.files import read_end, seek_since

WORKER_LOG_BYTES = 32_000_000
"""A worker's log is cut at this length; its former content is kept once, as `worker.log.1`."""
STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ ")
"""What stands before a line of a worker's own."""
PART_BYTES = 1_000_000
"""The most of a log that is read at once."""


@dataclass(frozen=True)
class LogPart:
    """LogPart holds lines of a log, and where the next one begins. Broken UTF-8 is shown as �."""

    lines: list[str]
    next: int
    """The byte from which to go on reading."""
    more: bool
    """Whether there are more complete lines already."""
    earlier: bool = False
    """Whether there are lines before these, of those that were read from the end."""


def read_lines(log: Path, count: int, whole: bool) -> LogPart:
    """Read the last `count` lines within PART_BYTES. `whole`: without a last one whose end is not written yet."""
    try:
        with log.open("rb") as file:
            data, begin = read_end(file, PART_BYTES)
    except FileNotFoundError:
        return LogPart([], 0, False)
    complete = data.rfind(b"\n") + 1
    lines = _decode_lines(data[:complete] if whole else data)[1 if begin else 0 :]  # the first one is most often cut
    last = lines[len(lines) - min(count, len(lines)) :]
    return LogPart(last, begin + complete, False, earlier=begin > 0 or len(last) < len(lines))


def read_lines_after(log: Path, position: int) -> LogPart:
    """Read the complete lines behind a byte, within PART_BYTES. A log that is shorter was cut, and is read from its start.

    A line that is longer than PART_BYTES comes in pieces.
    """
    try:
        with log.open("rb") as file:
            begin = seek_since(file, position)
            data, size = file.read(PART_BYTES), os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return LogPart([], 0, False)
    complete = data.rfind(b"\n") + 1 or (len(data) if len(data) == PART_BYTES else 0)
    return LogPart(_decode_lines(data[:complete]), begin + complete, complete > 0 and begin + len(data) < size)


def _decode_lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "replace").splitlines()


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


def read_last_words(log: Path, since: int = 0) -> str:
    """Reads the last line of a log that was written after byte `since`, without the time and level that a worker puts before it."""
    return STAMP.sub("", read_tail(log, lines=1, since=since))


def read_tail(log: Path, lines: int = 8, since: int = 0, limit: int = 2000) -> str:
    """Reads the last `lines` lines of a log that were written after byte `since`, at most `limit` bytes of them."""
    try:
        with log.open("rb") as file:
            data, _ = read_end(file, limit, since)
    except OSError:
        return ""
    log_lines = [line.rstrip() for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
    return "\n".join("".join(char if char.isprintable() else " " for char in line) for line in log_lines[-lines:])
