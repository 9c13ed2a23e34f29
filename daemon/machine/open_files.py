"""`raise_limit` lets this process have as many files open as a large cache needs: shells on macOS allow 256, many on Linux 1,024."""

from __future__ import annotations

import resource
from contextlib import suppress

WANTED = 8192
"""More than macOS lets any process have is refused there."""


def raise_limit() -> None:
    """Raise this process's own limit towards WANTED, as far as the hard limit lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = reach(soft, hard)
    if wanted != soft:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def reach(soft: int, hard: int) -> int:
    """Return the limit that a daemon or a worker gives itself, whose shell gave it these."""
    if soft == resource.RLIM_INFINITY or soft >= WANTED:
        return soft
    return WANTED if hard == resource.RLIM_INFINITY else max(soft, min(hard, WANTED))
