"""HomeWatch tells the daemon once when its home has gone away: moved, removed, or another folder or other files in its place.

A home whose files were put back from elsewhere while the daemon ran (`rsync --delete` of a backup, say) has another lock file,
or none: the commands would find no daemon there, and start a second one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from prefd.daemon.home.identity import HomeFolder, read_folder_id
from prefd.daemon.home.layout import Home
from prefd.daemon.timing import Timing

log = logging.getLogger(__name__)

REMOVAL_SECONDS = 1.0
"""For how long a home that is being removed may be there without its lock."""


class HomeWatch:
    """HomeWatch knows the folder that the daemon began in, and the file that it has locked there."""

    def __init__(self, home: Home, request_stop: Callable[[], None], timing: Timing) -> None:
        self.home = home
        self.request_stop = request_stop
        self.timing = timing
        self.folder = HomeFolder.find(home.root)
        self.lock_file = read_folder_id(home.lock)
        self._missing_since: float | None = None
        self.lost: str | None = None
        """What became of the home, where it went away while the daemon ran."""

    async def run(self) -> None:
        """Look now and then whether the home is still there, until cancelled."""
        while not self.note_loss():
            await asyncio.sleep(self.timing.home_look)

    def note_loss(self) -> bool:
        """Return whether the home has gone away, or is not this daemon's any more. Then that is told once, and the daemon stops.

        It could keep nothing. Its workers are told to save their state, and the database that it has open is written to the last.
        """
        if self.lost is not None:
            return True
        if (lost := self.folder.describe_loss()) is not None:
            remedy = "Start it again when the home is back, or with the home's new place"
        elif not self._has_lock():
            lost = f"{self.home.lock} was removed or replaced, as by a backup that was put back here, and a second daemon could start"
            remedy = "Start it again when all is in its place"
        else:
            return False
        self.lost = lost
        log.error("%s; the daemon ends. %s", lost, remedy)
        self.request_stop()
        return True

    def _has_lock(self) -> bool:
        """Return whether the lock file is still the one that was locked, as far as that can be told.

        One that is missing may be of a home that is just being removed: so that counts after a while, and where the rest is there.
        """
        try:
            now = read_folder_id(self.home.lock)
        except OSError:
            return True
        if now is None:
            self._missing_since = self._missing_since or time.monotonic()
            is_rest_there = self.home.identity.exists() and self.home.database.exists()
            return not is_rest_there or time.monotonic() - self._missing_since < REMOVAL_SECONDS
        self._missing_since = None
        return now == self.lock_file
