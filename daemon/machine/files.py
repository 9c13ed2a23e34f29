"""The functions here open files without following links or waiting, rename them over nothing, and read and write JSON."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import stat
import sys
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from prefd.cache.segments.durable import whole_file

DISK_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
"""The error numbers of a disk that takes no more: it may take more later, and nothing else is wrong."""
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
MAX_NAME_BYTES = 180
"""The length to which a name is cut, so that a prefix and `.error.txt` still fit the 255 bytes of a file system."""


def expand_user(path: str | os.PathLike[str]) -> Path:
    """Put the user's own folder in the place of `~`; `~nobody` stays as it is."""
    with suppress(RuntimeError):
        return Path(path).expanduser()
    return Path(path)


def follow_links(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path with its links followed; links that lead in a circle stay as they are.

    `Path.resolve` raises RuntimeError for these, before Python 3.13.
    """
    return Path(os.path.realpath(path))


def open_regular(path: Path) -> int:
    """Open a regular file and return its descriptor: no symlink is followed, no FIFO waited for. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return descriptor


def can_tell_writers() -> bool:
    """Return whether this system can tell that a file is open for writing, as `has_writer` asks it."""
    return sys.platform == "linux"


def has_writer(descriptor: int) -> bool:
    """Return whether any process has the file open for writing. Linux can tell, by refusing a lease; elsewhere False.

    On a network mount the answer is wrong: NFS 4 and CIFS refuse leases of their own accord.
    """
    if sys.platform != "linux":  # can_tell_writers(), as a type checker understands it
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # a broken lease's default signal would end us
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN  # others: not our file, or a file system without leases
    return False


def rename_new(source: Path, target: Path) -> bool:
    """Give `source` the name `target`, whole at once; False when that name is in use."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if target.exists():
            return False
        os.rename(source, target)
    return True


def write_json(path: Path, value: Any, flush: bool = True, indent: int | None = 1, private: bool = False) -> None:
    """Replaces `path` by `value` as JSON, whole or not at all.

    Without `flush`, a power cut may leave it empty; a crash of the process never does. What is `private`, only its user can read.
    """
    with whole_file(path, path.with_name(f".{path.name}.{os.getpid()}.tmp"), durable=flush, private=private) as file:
        file.write(json.dumps(value, indent=indent, allow_nan=False).encode())


def read_json(path: Path) -> Any | None:
    """Read the JSON at `path`; None where there is none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def read_end(file: BinaryIO, limit: int | None = None, since: int = 0) -> tuple[bytes, int]:
    """Reads what was written to `file` after byte `since`, at most its last `limit` bytes, and says where that begins.

    A file that is shorter than `since` has been cut or replaced meanwhile, so all of it is new.
    """
    begin = seek_since(file, since)
    if limit is not None:
        begin = file.seek(max(begin, os.fstat(file.fileno()).st_size - limit))
    return file.read(-1 if limit is None else limit), begin


def seek_since(file: BinaryIO, since: int) -> int:
    """Goes to byte `since` of a file, or to the start of one that is shorter: it has been cut or replaced. Returns where that is."""
    size = file.seek(0, os.SEEK_END)
    return file.seek(since if since <= size else 0)


def is_lfs_pointer(path: Path) -> bool:
    """Return whether the file is a pointer of Git LFS, in place of the file itself. False where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(LFS_POINTER)) == LFS_POINTER
    except OSError:
        return False


def shorten_name(name: str) -> str:
    """Cut `name` to MAX_NAME_BYTES, keeping its suffix."""
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    suffix = PurePath(name).suffix if len(PurePath(name).suffix) < 10 else ""
    stem = name.encode()[: MAX_NAME_BYTES - len(suffix.encode())].decode("utf-8", "ignore")
    return stem + suffix
