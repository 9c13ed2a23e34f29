"""`read_birth` says when a folder was made: a rename keeps that, a copy does not, and no program can set it.

An inode alone does not tell a folder from the copy that was put in its place: the system gives it out again.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from pathlib import Path

AT_FDCWD, STATX_BTIME = -100, 0x800
BUFFER_BYTES, BIRTH_AT = 256, 80  # of Linux's struct statx, and of stx_btime in it: seconds (s64), nanoseconds (u32)


def read_birth(path: Path) -> float | None:
    """Return when the file or folder was made, in Unix time; None where the system or the file system does not tell."""
    if sys.platform != "linux":
        birth: float | None = getattr(os.stat(path), "st_birthtime", None)
        return birth
    buffer = ctypes.create_string_buffer(BUFFER_BYTES)
    try:
        failed = ctypes.CDLL(None).statx(AT_FDCWD, os.fsencode(path), 0, STATX_BTIME, buffer)
    except (AttributeError, OSError):  # an old C library
        return None
    (filled,) = struct.unpack_from("I", buffer)
    if failed or not filled & STATX_BTIME:
        return None
    seconds: int
    seconds, nanoseconds = struct.unpack_from("qI", buffer, BIRTH_AT)
    return seconds + nanoseconds / 1e9 if seconds > 0 else None  # some file systems tell 1970
