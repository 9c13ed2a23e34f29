"""Stop is the request that the daemon, or `prefd run`, ends; it wakes everything that waits."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, suppress

from prefd.daemon.machine.listeners import Listeners, Settable


class Stop:
    """Stop is the request of signal handlers and the control API, in the event loop's thread. A second one means: without waiting."""

    def __init__(self) -> None:
        self.requests = 0
        self._listeners = Listeners[None]()

    def request(self) -> None:
        """Request the stop, and wake the listeners."""
        self.requests += 1
        self._listeners.tell(None)

    def is_set(self) -> bool:
        """Says whether the stop was requested."""
        return self.requests > 0

    @property
    def hurried(self) -> bool:
        """Says whether the stop was requested twice, so that nothing may be waited for."""
        return self.requests > 1

    def listening(self, event: Settable) -> AbstractContextManager[None]:
        """Have `event` set at every request inside the block."""
        return self._listeners.listening(None, event)

    async def rest(self, seconds: float) -> None:
        """Wait for so many seconds, or until the request."""
        requested = asyncio.Event()
        with self.listening(requested), suppress(TimeoutError):
            if not self.is_set():
                async with asyncio.timeout(seconds):
                    await requested.wait()
