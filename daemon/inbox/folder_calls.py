"""FolderCalls works on `jobs/` in threads, so that the daemon can answer and stop while a network mount hangs.

Trouble with the folder is logged once, and `prefd status` shows it until it is over.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from prefd.daemon.inbox.health import WatchHealth
from prefd.daemon.machine.listeners import Settable
from prefd.daemon.machine.threads import P, T, run_in_thread
from prefd.daemon.timing import USUAL, Timing

log = logging.getLogger(__name__)


class StopRequest(Protocol):
    """StopRequest is the daemon's request to stop, as far as the folder's users need it."""

    def is_set(self) -> bool:
        """Return whether the stop was requested."""
        ...

    def listening(self, event: Settable) -> AbstractContextManager[None]:
        """Have `event` set at every request inside the block."""
        ...


class StopIntake(Exception):
    """The daemon is to stop, even if a call on the folder hangs."""


class FolderCalls:
    """Makes calls on one folder. `alive`: called with the seconds until the next sign of life."""

    def __init__(
        self,
        folder: Path,
        stop: StopRequest,
        alive: Callable[[float], None] = lambda seconds: None,
        timing: Timing = USUAL,
    ) -> None:
        self.folder = folder
        self.stop = stop
        self.alive = alive
        self.timing = timing
        self.health = WatchHealth()

    async def make(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `work` in a thread. Raises what it raises, and StopIntake when it hangs and the daemon is to stop."""
        began = time.monotonic()
        task = asyncio.ensure_future(run_in_thread(work, *args, **kwargs))
        while not task.done():
            await asyncio.wait({task}, timeout=self.timing.folder_call_look)
            self.alive(0)  # a mount that hangs does not mean that the daemon does
            if not task.done() and self.stop.is_set():
                task.cancel()
                raise StopIntake
            if not task.done() and time.monotonic() - began > self.timing.slow_folder_call:
                self.tell_trouble(
                    f"{self.folder}, or what a spec in it names, does not answer: is a network mount's server away?"
                )
        return task.result()

    def tell_trouble(self, trouble: str | None) -> None:
        """Report why nothing can be claimed, or that files can be claimed again (None)."""
        if trouble is not None and trouble != self.health.folder:
            log.warning("%s", trouble)
        if trouble is None and self.health.folder is not None:
            log.info("%s can be claimed from again", self.folder)
        self.health.folder = trouble
