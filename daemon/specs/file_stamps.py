"""A stamp of files says how they are, so that what was made of them can be told to be up to date."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

Stamp = tuple[tuple[str, int, int], ...]
"""(path, mtime in ns, size) of each file."""
CHANGED_MEANWHILE = (0, -1)
"""In a stamp, of a file that was changed when it may have been read already."""


def take_stamp(paths: Iterable[str | Path], began: int | None = None) -> Stamp:
    """Take the stamp of these files. A file that was changed after `began` (Unix time in ns) counts as changed since."""
    stamps = []
    for path in paths:
        try:
            info = os.stat(path)
            is_newer = began is not None and info.st_mtime_ns >= began
            changed = CHANGED_MEANWHILE if is_newer else (info.st_mtime_ns, info.st_size)
        except OSError:
            changed = (0, 0)
        stamps.append((str(path), *changed))
    return tuple(stamps)
