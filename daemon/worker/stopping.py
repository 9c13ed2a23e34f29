"""When a worker has to stop: a signal from the supervisor, or a supervisor that is gone."""

from __future__ import annotations

import os
import signal
import threading
from typing import Protocol


class StopEvent(Protocol):
    """Anything that can be asked whether it is time to stop (a `threading.Event` is one)."""

    def is_set(self) -> bool: ...


def on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    event = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: event.set())
    return event


def watch_parent(event: threading.Event, every_s: float = 1.0) -> None:
    """Set `event` when this process's parent dies: a worker without a daemon saves its state and ends.

    $PREFD_PARENT says who that is, for it may be gone before anyone here could look.
    """
    parent = int(os.environ.get("PREFD_PARENT") or os.getppid())

    def watch() -> None:
        while os.getppid() == parent:
            if event.wait(every_s):
                return
        event.set()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
