"""HomeWatch tells the daemon once when its home has gone away: moved, removed, or another folder in its place."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from prefd.daemon.home.identity import describe_loss, read_folder_id
from prefd.daemon.home.layout import Home
from prefd.daemon.timing import Timing

log = logging.getLogger(__name__)


class HomeWatch:
    """HomeWatch knows the folder that the daemon began in."""

    def __init__(self, home: Home, request_stop: Callable[[], None], timing: Timing) -> None:
        self.home = home
        self.request_stop = request_stop
        self.timing = timing
        self.folder = read_folder_id(home.root)
        self.lost: str | None = None
        """What became of the home, where it went away while the daemon ran."""

    async def run(self) -> None:
        """Look now and then whether the home is still there, until cancelled."""
        while not self.note_loss():
            await asyncio.sleep(self.timing.home_look)

    def note_loss(self) -> bool:
        """Return whether the home has gone away. Then that is told once, and the daemon stops: it could keep nothing.

        Its workers are told to save their state, and the database that it has open is written to the last.
        """
        if self.lost is None and (lost := describe_loss(self.home.root, self.folder)) is not None:
            self.lost = lost
            log.error("%s; the daemon ends. Start it again when the home is back, or with the home's new place", lost)
            self.request_stop()
        return self.lost is not None
