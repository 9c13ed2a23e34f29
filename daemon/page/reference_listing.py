"""ReferenceListing has a child list what the cache holds: reading it takes zarr and numpy, 20 MB that the page's process would keep.

The child's answer is kept until a file of the cache is another one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

from prefd.daemon.home.layout import Home
from prefd.daemon.page.command_child import ask_command

Stamp = tuple[tuple[str, int, int], ...]
"""(path, mtime in ns, size) of every file of the cache."""


class ReferenceListing:
    """ReferenceListing knows the references of one home's cache as `prefd cache ls --json` prints them."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._lock = threading.Lock()
        self._stamp: Stamp | None = None
        self._references: list[dict[str, Any]] = []

    def read(self) -> list[dict[str, Any]]:
        """Returns the references as they are now. Raises Refusal with the command's words where they cannot be read."""
        if not self.home.has_cache:
            return []
        with self._lock:  # callers that waited meanwhile take this listing
            stamp = tuple(sorted(self._list_files()))
            if stamp != self._stamp:
                self._references, self._stamp = ask_command(self.home, "cache", "ls")["references"], stamp
            return self._references

    def _list_files(self) -> Iterator[tuple[str, int, int]]:
        for folder, _, names in os.walk(self.home.cache):
            for name in names:
                path = os.path.join(folder, name)  # a Path for each of thousands would take longer than its stat
                try:
                    info = os.stat(path)
                except FileNotFoundError:  # compacted, or still being written
                    continue
                yield path, info.st_mtime_ns, info.st_size
