"""GrowingFile reads of a file of lines only what has been added since it was last read: a run's metrics, while it trains."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import BinaryIO

BLOCK = 1 << 20
"""The most bytes that are held of a file at once, unless a line is longer."""


class GrowingFile:
    """GrowingFile remembers how far one file was read. Used from one thread at a time.

    `forget`: called before a file is read from its start again, because another has its name, or it was cut back: a run that
    goes on from its checkpoint does that. It is called for a file that is not there too.
    """

    def __init__(self, path: Path, forget: Callable[[], None], block: int = BLOCK) -> None:
        self.path = path
        self.forget = forget
        self.block = block
        self._inode = 0
        self._offset = 0

    def read_additions(self) -> Generator[bytes, None, None]:
        """Yield the complete lines that were added, about `block` bytes at a time. What is not taken is left for the next time."""
        try:
            info = os.stat(self.path)
            if (info.st_ino, info.st_size) == (self._inode, self._offset):
                return
            with self.path.open("rb") as file:
                info = os.fstat(file.fileno())
                if info.st_ino != self._inode or info.st_size < self._offset:
                    self._begin_anew(info.st_ino)
                file.seek(self._offset)
                for lines in read_line_blocks(file, self.block):
                    self._offset += len(lines)
                    yield lines
        except OSError:  # not there yet, or set aside at this moment
            self._begin_anew(0)

    def _begin_anew(self, inode: int) -> None:
        self._inode, self._offset = inode, 0
        self.forget()


def read_line_blocks(file: BinaryIO, block: int) -> Iterator[bytes]:
    """Yield the complete lines of what follows in a file, about `block` bytes at a time."""
    rest = b""
    while data := file.read(block):
        text = rest + data
        end = text.rfind(b"\n") + 1
        rest = text[end:]
        if end:
            yield text[:end]
