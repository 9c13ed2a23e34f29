"""Loads a file's bytes as a read-only array: small files are read, large ones are memory-mapped.

Python's `mmap` keeps a descriptor for as long as the map lives. A cache of some hundred segments would then use up the
process's limit (1,024 at first, 2,048 once mlx-lm is imported), so the map is made through libc, which needs none.
A mapped file that is deleted stays readable; one that is cut short kills the process that reads beyond its end, so
nothing here ever changes a committed file.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from pathlib import Path

import numpy as np
import numpy.typing as npt

READ_BELOW = 64 * 2**10  # bytes; a map costs two system calls, whole pages, and one of the process's 65,530 maps
PROT_READ, MAP_SHARED = 1, 1  # the same on Linux and macOS
MAP_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int64,
]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def load_bytes(path: Path) -> npt.NDArray[np.uint8]:
    """Loads the file at `path` as (size,) uint8, read-only. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        if size < READ_BELOW:
            return np.frombuffer(os.pread(descriptor, size + 1, 0), dtype=np.uint8)
        return _map_file(descriptor, size, path)
    finally:
        os.close(descriptor)


def _map_file(descriptor: int, size: int, path: Path) -> npt.NDArray[np.uint8]:
    address = _libc.mmap(None, size, PROT_READ, MAP_SHARED, descriptor, 0)
    if address == MAP_FAILED:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(path))
    memory = (ctypes.c_uint8 * size).from_address(address)
    weakref.finalize(memory, _libc.munmap, address, size).atexit = False
    array: npt.NDArray[np.uint8] = np.frombuffer(memoryview(memory), dtype=np.uint8)
    array.flags.writeable = False
    return array
