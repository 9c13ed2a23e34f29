"""`open_anonymous_memory` opens memory that processes share by its descriptor: it has no name, and is gone with the last of them.

So there is nothing to clean up, whichever of them dies and how. Nor is it a file, which would wear a disk that is written to all
day long.
"""

from __future__ import annotations

import os
import secrets


def open_anonymous_memory() -> int:
    """Open memory of no size yet, and return its descriptor, which no child inherits unless it is passed on. Raises OSError."""
    create = getattr(os, "memfd_create", None)
    return _open_unlinked() if create is None else int(create("prefd"))


def size_anonymous_memory(descriptor: int, size: int) -> None:
    """Give the memory its size, once: macOS refuses to change it. Raises OSError where there is not as much.

    It is taken now where the system can: a process that first writes to it when there is none left is killed for it.
    """
    os.ftruncate(descriptor, size)
    if hasattr(os, "posix_fallocate"):  # macOS has swap for it
        os.posix_fallocate(descriptor, 0, size)


def _open_unlinked() -> int:
    """Open POSIX shared memory and take its name away at once; macOS has no memory without one."""
    from _posixshmem import shm_open, shm_unlink  # what multiprocessing.shared_memory is made of, which keeps names

    name = f"/prefd-{secrets.token_hex(8)}"  # macOS allows 31 bytes
    descriptor = shm_open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode=0o600)
    shm_unlink(name)
    return int(descriptor)
