"""SpecSource is where a spec's text came from: a file that was named, standard input (`-`), or a pipe (`<(…)`)."""

from __future__ import annotations

import os
import stat
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from prefd.daemon.errors import PrefdError
from prefd.daemon.text.parsed import MAX_BYTES

STDIN = "-"
"""What stands for standard input where a file is expected."""
DESCRIPTORS = (Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd"))
"""Where open files have names that say nothing of what is in them."""
PIPED = "stdin"
"""What a job is called whose spec came through a pipe and names none."""


class SpecUnreadable(PrefdError):
    """The text cannot be read at all; the message names the file."""

    http_status = 422


@dataclass(frozen=True)
class SpecSource:
    """SpecSource is the text of a spec, of which at most one byte too many is read."""

    data: bytes
    name: str
    """A file's name, whose suffix says how the text is written."""
    folder: Path
    """Where relative paths start: the file's folder; for what came through a pipe, the one that the command is run in."""

    @classmethod
    def read(cls, path: Path) -> SpecSource:
        """Read the text. A named pipe that nobody writes to is empty, and not waited for. Raises SpecUnreadable."""
        if str(path) == STDIN:
            if sys.stdin is None or sys.stdin.closed:
                raise SpecUnreadable(f"{path}: there is no standard input to read a spec from")
            return cls.from_pipe(read_bounded(sys.stdin.buffer))
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                kind = os.fstat(file.fileno()).st_mode
                if stat.S_ISREG(kind) and path.parent not in DESCRIPTORS:
                    return cls(read_bounded(file), path.name, path.absolute().parent)
                if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind) or stat.S_ISCHR(kind)):
                    raise SpecUnreadable(f"{path}: not a regular file")
                os.set_blocking(file.fileno(), True)
                return cls.from_pipe(read_bounded(file))
        except OSError as error:
            raise SpecUnreadable(f"{path}: {error.strerror or error}") from None

    @classmethod
    def from_pipe(cls, data: bytes) -> SpecSource:
        """Make the source of a text that has no file name: how it is written is told from the text itself."""
        return cls(data, f"{PIPED}{guess_suffix(data)}", Path.cwd())


def read_bounded(file: BinaryIO) -> bytes:
    """Read to the end, or until it is more than a spec may have."""
    data = bytearray()
    while len(data) <= MAX_BYTES and (chunk := file.read(MAX_BYTES + 1 - len(data))):
        data += chunk
    return bytes(data)


def guess_suffix(data: bytes) -> str:
    """Return the suffix of a file with this text: JSON begins with a brace, and what reads as TOML is TOML."""
    text = data[:MAX_BYTES].decode("utf-8-sig", "replace")
    if text.lstrip().startswith("{"):
        return ".json"
    try:
        return ".toml" if tomllib.loads(text) else ".yaml"
    except (tomllib.TOMLDecodeError, RecursionError):
        return ".yaml"
