"""`report_to_systemd` tells systemd's watchdog that the daemon lives, while its loops beat in time and its socket answers.

One loop that hangs is enough for systemd to end the daemon and start it anew.
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
    """Pulse holds the times by which the daemon's loops will give their next sign of life. Time that the machine sleeps does not count."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def beat(self, loop: str, within: float) -> None:
        """Note that `loop` is alive, and will beat again within so many seconds."""
        self._until[loop] = time.monotonic() + within

    def end(self, loop: str) -> None:
        """Note that `loop` has ended as it should."""
        self._until.pop(loop, None)

    def silent(self) -> list[str]:
        """List the loops that have not beaten in time: they hang."""
        now = time.monotonic()
        return sorted(loop for loop, until in self._until.items() if until < now)


async def report_to_systemd(
    manager: ServiceManager, pulse: Pulse, socket_path: str, status: Callable[[], str], timing: Timing = USUAL
) -> None:
    """Tell systemd that the daemon is ready once its socket answers, then what it does and that it lives, until cancelled.

    `status`: describes what the daemon does in one line.
    """
    if not manager.address:
        return
    while not await ask_for_status(socket_path, timing.watchdog_answer):
        await asyncio.sleep(0.05)
    manager.tell(READY=1)
    patience = manager.watchdog_seconds
    hanging: list[str] = []
    while True:
        manager.status(status())
        silent = pulse.silent()
        if patience is not None and not await ask_for_status(socket_path, timing.watchdog_answer):
            silent.append("the control socket")
        if patience is not None and not silent:
            manager.tell(WATCHDOG=1)
        if silent and silent != hanging:
            log.error("%s: no sign of life; the watchdog is told nothing until there is", ", ".join(silent))
        hanging = silent
        await asyncio.sleep(timing.watchdog_status if patience is None else min(patience / 2, timing.watchdog_status))


async def ask_for_status(socket_path: str, seconds: float) -> bool:
    """Return whether the control API answers on the socket at that path within so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_unix_connection(socket_path)
            try:
                writer.write(REQUEST)
                return (await reader.readline()).split()[1:2] == [b"200"]
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return False
