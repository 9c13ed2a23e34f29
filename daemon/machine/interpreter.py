"""The commands of prefd's own processes, and what they have in their environment."""

from __future__ import annotations

import os
import sys

PYTHON: tuple[str, ...] = (sys.executable, "-X", "utf8", "-P")
"""The interpreter of the daemon and its workers. They read and write UTF-8 in any locale, and nothing is imported from the folder
that they run in."""

WORKER: tuple[str, ...] = (*PYTHON, "-m", "prefd.daemon.worker")
"""The command of a worker."""

AHEAD = "ahead"
"""The task of a worker that waits for orders (prefd.daemon.runs.orders)."""

SAME_HASHES = {"PYTHONHASHSEED": "0"}
"""Part of every worker's environment: a chat template in Python that goes through a set finds one order in all of them."""

UTF8_STREAMS = {"PYTHONIOENCODING": "utf-8:backslashreplace"}
"""Part of every worker's environment: the user's own PYTHONIOENCODING would count for more than `-X utf8`."""


def build_environment() -> dict[str, str]:
    """Return the variables that every worker has in its environment, whatever its limits."""
    return {"PYTHONUNBUFFERED": "1", "PREFD_PARENT": str(os.getpid()), **SAME_HASHES, **UTF8_STREAMS}
