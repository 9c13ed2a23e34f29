"""hold_exclusively makes one process the only one of its kind at a home, by a lock that the kernel releases when its holder dies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prefd.daemon.home.lock import PATIENCE_SECONDS


@contextmanager
def hold_exclusively(path: Path, refuse: Callable[[], Exception]) -> Iterator[None]:
    """Hold the lock at `path` inside the block. Raises what `refuse` makes where another process has it."""
    from filelock import FileLock, Timeout  # here: asking whether it is held needs none of it

    lock = FileLock(path, timeout=PATIENCE_SECONDS, poll_interval=0.05)
    try:
        lock.acquire()
    except Timeout:
        raise refuse() from None
    try:
        yield
    finally:
        lock.release()
