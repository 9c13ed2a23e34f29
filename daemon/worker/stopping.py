"""Notices when a worker has to stop: at a signal from the supervisor, or when the supervisor is gone."""

from __future__ import annotations

import os
import signal
import threading
from typing import Protocol


class StopEvent(Protocol):
    """Anything that can be asked whether it is time to stop (a `threading.Event` is one)."""

    def is_set(self) -> bool:
        """Whether it is time to stop."""
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
