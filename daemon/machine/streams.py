"""`prepare_streams` makes stdin, stdout and stderr fit to be used, whatever a caller did to them, before a command says anything.

A shell may close them (`>&-`), a pipe's reader may go away (`| head`), a disk may be full, and a locale may lack the characters. None
of it is a reason for a traceback, or for a command that acts to stop half-way: what nobody reads is dropped. A command without an end,
such as `prefd events`, calls `end_with_reader`.

Descriptors 0 to 2 that are closed are opened on /dev/null: else the next file that is opened, the database, would be stdout.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

NOBODY = {errno.EPIPE, errno.EBADF, errno.ECONNRESET}
"""The error numbers of a write that nobody reads."""


class Outlet(io.RawIOBase):
    """Outlet is a descriptor to write to. What its reader does not want, or the disk has not room for, is dropped; the disk's error is raised once."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.needs_reader = False
        """Whether BrokenPipeError is raised when its reader has gone."""
        self._dropping = False

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        """Return True: it is there to be written to."""
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        """Write some of `data`, waiting for a reader that is slow. Raises OSError where the disk refuses, the first time."""
        size = len(memoryview(data).cast("B"))
        while not self._dropping:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # a pipe that another process has made non-blocking
                select.select([], [self._descriptor], [])
            except OSError as error:
                self._dropping = True
                if error.errno not in NOBODY or self.needs_reader:
                    raise
        return size


def prepare_streams() -> None:
    """Open what is closed, and replace stdout and stderr by streams that never fail for a locale or a reader."""
    open_closed()
    sys.stdin = sys.stdin or open(0, encoding="utf-8", errors="replace")  # noqa: SIM115  # it is open for the process's life
    sys.stdout = _replace_stream(sys.stdout, sys.__stdout__, 1)
    sys.stderr = _replace_stream(sys.stderr, sys.__stderr__, 2)


def open_closed() -> None:
    """Open each of the descriptors 0 to 2 that is closed on /dev/null, for this process and those it starts."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
            os.set_inheritable(descriptor, True)


def end_with_reader() -> None:
    """Have stdout raise BrokenPipeError when its reader has gone: for a command that goes on until it is stopped."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(raw, Outlet):
        raw.needs_reader = True


def _replace_stream(stream: TextIO | None, original: TextIO | None, descriptor: int) -> TextIO:
    """Return a stream on the descriptor in place of the interpreter's own; one that stands in for it, as in tests, is kept."""
    if stream is not None and (stream is not original or _get_descriptor(stream) != descriptor):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")
        return stream
    encoding = getattr(stream, "encoding", None) or "utf-8"
    outlet = Outlet(descriptor)
    buffer = io.BufferedWriter(cast("io.RawIOBase", outlet))
    errors = "replace" if descriptor == 1 else "backslashreplace"
    return io.TextIOWrapper(buffer, encoding, errors, line_buffering=descriptor == 2 or outlet.isatty())


def _get_descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None
