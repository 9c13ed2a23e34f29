"""Notices when a worker has to stop: at a signal from the supervisor, or when the supervisor is gone; and ends it in any case."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from typing import Protocol


class StopEvent(Protocol):
    """StopEvent is anything that can be asked whether it is time to stop (a `threading.Event` is one)."""

    def is_set(self) -> bool:
        """Say whether it is time to stop."""
        ...


def watch_signals() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set."""
    event = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: event.set())
    return event


def watch_parent(event: threading.Event, every_s: float = 1.0) -> None:
    """Set `event` when this process's parent dies: a worker without a daemon saves its state and ends.

    $PREFD_PARENT holds its process id, for it may be gone before this process could look.
    """
    parent = int(os.environ.get("PREFD_PARENT") or os.getppid())

    def watch() -> None:
        while os.getppid() == parent:
            if event.wait(every_s):
                return
        event.set()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


PR_SET_PDEATHSIG = 1
"""Of Linux's prctl: the signal that this process gets when its parent dies."""


def end_with_parent(every_s: float = 1.0) -> None:
    """Have this process killed when its parent dies, at once and whatever it does where the system can do that.

    It is for a worker that answers a question, which nobody waits for then.
    """
    parent = int(os.environ.get("PREFD_PARENT") or os.getppid())
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(every_s)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def leave_within(seconds: float, code: int) -> None:
    """Have this process end with `code` after so many seconds, although threads or exit handlers would hold it up."""
    timer = threading.Timer(seconds, os._exit, (code,))
    timer.daemon = True
    timer.start()
