"""HomePresence tells a daemon whether the home that it serves is still there, and whether the lock in it is still its own.

A home that was removed, renamed or unmounted is lost. One whose files were put back from elsewhere while the daemon ran (`rsync
--delete` of a backup, say) has another lock file, or none: the commands would find no daemon there, and start a second one.
"""

from __future__ import annotations

from contextlib import suppress

from prefd.daemon.home.identity import describe_loss, read_folder_id
from prefd.daemon.home.layout import Home


class HomePresence:
    """HomePresence remembers the home's folder and its lock file as they were when the caller had locked it."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.folder = read_folder_id(home.root)
        self.lock_file = read_folder_id(home.lock)
        self.lost: str | None = None
        """What became of the home, once it is not this daemon's any more."""

    def look(self) -> str | None:
        """Look whether the home went away, or its files were replaced; return what is to be told of it, once."""
        if self.lost is not None:
            return None
        if (lost := describe_loss(self.home.root, self.folder)) is not None:
            end = "; the daemon ends. Start it again when the home is back, or with the home's new place"
        elif not self._has_lock():
            lost = f"{self.home.lock} was removed or replaced, as by a backup that was put back here, and a second daemon could start"
            end = "; the daemon ends. Start it again when all is in its place"
        else:
            return None
        self.lost = lost
        return lost + end

    def _has_lock(self) -> bool:
        """Say whether the lock file is still the one that was locked, as far as that can be looked at."""
        with suppress(OSError):
            return read_folder_id(self.home.lock) == self.lock_file
        return True
