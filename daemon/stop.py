"""A request to stop, which everything that waits looks out for."""

from __future__ import annotations

import asyncio
import time

TICK_SECONDS = 0.1


class Stop:
    """Made by signal handlers and the control API. A second request means: without waiting."""

    def __init__(self) -> None:
        self.requests = 0

    def request(self) -> None:
        self.requests += 1

    def is_set(self) -> bool:
        return self.requests > 0

    @property
    def hurried(self) -> bool:
        return self.requests > 1

    async def rest(self, seconds: float) -> None:
        """Wait for so long, or until the request."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.is_set():
            await asyncio.sleep(min(TICK_SECONDS, seconds))
