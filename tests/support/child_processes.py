"""The processes that this one has started and that live."""

from __future__ import annotations

from contextlib import suppress

import psutil


def list_command_lines() -> list[list[str]]:
    """The command lines of this process's children; one that has ended, or ends meanwhile, has none."""
    lines = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            lines.append(child.cmdline())
    return lines


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
