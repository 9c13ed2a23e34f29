"""`hold_lock` keeps a second daemon from a home, by a lock that the kernel releases when its holder dies.

Beside the lock, `daemon.json` names the holder. It counts only while the lock is held; and as people copy homes, a process that
asks that daemon for anything checks that it serves this home.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from prefd.daemon.errors import PrefdError
from prefd.daemon.home.identity import FolderId, read_folder_id
from prefd.daemon.home.layout import Home, HomeUnusable
from prefd.daemon.machine.files import read_json, write_json

NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
"""The error numbers of a file system that has no locks."""
PATIENCE_SECONDS = 1.0
"""How long a starting daemon tries the lock: `find_holder` takes it for a moment, which is no rival."""


@dataclass(frozen=True)
class Holder:
    """Holder is the daemon that holds a home's lock, as it announced itself."""

    pid: int
    started_at: float
    """Unix time."""
    socket: str


class AlreadyRunning(PrefdError):
    """Another daemon has this home; the message says which and how to stop it."""


@contextmanager
def hold_lock(home: Home) -> Iterator[None]:
    """Hold the home's lock inside the block. Raises AlreadyRunning, and HomeUnusable where it cannot be locked."""
    from filelock import FileLock, Timeout  # here: asking whether the lock is held needs none of it

    _refuse_lockless(home)
    lock = FileLock(home.lock, timeout=PATIENCE_SECONDS, poll_interval=0.05)
    try:
        lock.acquire()
    except Timeout:
        raise AlreadyRunning(f"{_describe_owner(home)} already serves {home.root}; stop it with `prefd stop`") from None
    (home.run / "daemon.json").unlink(missing_ok=True)  # of a daemon that was killed
    lock_file = read_folder_id(home.lock)
    try:
        yield
    finally:
        withdraw(home, lock_file)
        lock.release()


def announce(home: Home, socket: str) -> Holder:
    """Write down that this process holds the lock, and where it listens."""
    owner = Holder(os.getpid(), time.time(), socket)
    write_json(home.run / "daemon.json", asdict(owner))
    return owner


def withdraw(home: Home, lock_file: FolderId | None) -> None:
    """Take the announcement back, so that nobody takes a daemon for hung that only ends.

    `lock_file`: the file that was locked. Where another has its name, that of another home, or of the next daemon, the
    announcement is not this one's any more.
    """
    if read_folder_id(home.lock) == lock_file:
        (home.run / "daemon.json").unlink(missing_ok=True)


def read_announcement(home: Home) -> Holder | None:
    """Return the last holder that announced itself, which may be gone; None where there is none."""
    value = read_json(home.run / "daemon.json")
    try:
        return Holder(**value) if isinstance(value, dict) else None
    except TypeError:
        return None


def is_held(home: Home) -> bool:
    """Return whether a daemon runs on `home` now. Processes that ask at the same time do not take each other for one.

    Nothing is written, so it can be asked of a home that is read-only.
    """
    return is_locked(home.lock)


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock on this file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # another user's: nobody can tell
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # a daemon's own is exclusive
    except OSError:
        return True
    finally:
        os.close(descriptor)  # which releases it
    return False


def find_holder(home: Home) -> Holder | None:
    """Return the daemon that runs on `home` now; None when the lock is free, or its holder has not announced itself yet."""
    return read_announcement(home) if is_held(home) else None


def _refuse_lockless(home: Home) -> None:
    """Raise HomeUnusable where the file system has no locks: a file in place of one would outlive a daemon that was killed."""
    descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NO_LOCKS:
            raise HomeUnusable(
                f"{home.run} is on a file system that cannot lock files ({error.strerror}), and two daemons would share the home: "
                "keep it on this machine's own disk; models and data may stay where they are"
            ) from None
    finally:
        os.close(descriptor)


def _describe_owner(home: Home) -> str:
    owner = read_announcement(home)
    if owner is None:
        return "another daemon"
    since = datetime.fromtimestamp(owner.started_at).astimezone()
    return f"another daemon (pid {owner.pid}, since {since:%Y-%m-%d %H:%M:%S})"
