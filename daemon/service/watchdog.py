"""Whether the daemon is alive: each of its loops says by when it will be heard of again, and its socket is asked.

systemd's watchdog is told so only while all of it holds. One loop that hangs is enough to be ended for, and started anew.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from prefd.daemon.service.systemd import ServiceManager
from prefd.daemon.timing import USUAL, Timing

log = logging.getLogger(__name__)

REQUEST = b"GET /v1/status HTTP/1.1\r\nHost: prefd\r\nConnection: close\r\n\r\n"


class Pulse:
    """What loops promise. Time that the machine sleeps does not count."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def beat(self, loop: str, within: float) -> None:
        """`loop` is alive, and will say so again within so many seconds."""
        self._until[loop] = time.monotonic() + within

    def rest(self, loop: str) -> None:
        """`loop` has ended as it should."""
        self._until.pop(loop, None)

    def silent(self) -> list[str]:
        """The loops that have not kept their word: they hang."""
        now = time.monotonic()
        return sorted(loop for loop, until in self._until.items() if until < now)


async def report(
    manager: ServiceManager, pulse: Pulse, listening: str, status: Callable[[], str], timing: Timing = USUAL
) -> None:
    """Tell systemd that the daemon is ready once its socket answers, then what it does and that it lives, until
    cancelled. `status`: what it does, in a line.
    """
    if not manager.address:
        return
    while not await answers(listening, timing.watchdog_answer):
        await asyncio.sleep(0.05)
    manager.tell(READY=1)
    patience = manager.watchdog_seconds
    hanging: list[str] = []
    while True:
        manager.status(status())
        silent = pulse.silent()
        if patience is not None and not await answers(listening, timing.watchdog_answer):
            silent.append("the control socket")
        if patience is not None and not silent:
            manager.tell(WATCHDOG=1)
        if silent and silent != hanging:
            log.error("%s: no sign of life; the watchdog is told nothing until there is", ", ".join(silent))
        hanging = silent
        await asyncio.sleep(timing.watchdog_status if patience is None else min(patience / 2, timing.watchdog_status))


async def answers(listening: str, seconds: float) -> bool:
    """Whether the control API answers on the socket at that path within so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_unix_connection(listening)
            try:
                writer.write(REQUEST)
                return (await reader.readline()).split()[1:2] == [b"200"]
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return False
