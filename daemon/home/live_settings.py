"""LiveSettings are a daemon's settings as they are in force: those of config.toml when it could last be read.

A file that has changed is read once it has been the same for two looks: editors empty a file before they write it. While it
cannot be read, the last good settings stay, and `error` says what is wrong with it.
"""

from __future__ import annotations

import logging
import os
import time

from prefd.daemon.home.changed_settings import describe_differences
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config, ConfigError

log = logging.getLogger(__name__)

FileStamp = tuple[int, int, int] | None
"""A file's size, time of change and inode; None where there is no file."""


class LiveSettings:
    """LiveSettings holds the settings of one home's daemon. `current` is replaced as a whole when the file has changed."""

    def __init__(self, home: Home, config: Config, stamp: FileStamp | str = "now") -> None:
        self.home = home
        self.current = config
        self.error: str | None = None
        """Why config.toml cannot be read now."""
        self.read_at = time.time()
        """When `current` was read (Unix time)."""
        self._stamp = take_file_stamp(home) if isinstance(stamp, str) else stamp
        self._seen = self._stamp

    @classmethod
    def load(cls, home: Home) -> LiveSettings:
        """Read config.toml. Raises ConfigError."""
        stamp = take_file_stamp(home)
        return cls(home, Config.load(home), stamp)

    def look(self, at_once: bool = False) -> bool:
        """Read the file again where it has changed, and return whether anything is different now: settings, or the error.

        `at_once`: do not wait for a second look, and read it whether it seems changed or not.
        """
        stamp = take_file_stamp(self.home)
        has_settled, self._seen = stamp == self._seen, stamp
        if not at_once and (stamp == self._stamp or not has_settled):
            return False
        self._stamp = stamp
        before = self.current, self.error
        try:
            config = Config.load(self.home)
        except ConfigError as error:
            self._note_error(error)
        else:
            self._take_up(config)
        return (self.current, self.error) != before

    def _note_error(self, error: ConfigError) -> None:
        lines = [line.removeprefix(f"{self.home.config}: ") for line in str(error).splitlines()]
        reason = "; ".join(lines)
        message = f"{self.home.config.name} cannot be read: {reason}"
        if message != self.error:
            log.warning("%s; the settings stay as they were, and the queue waits", message)
        self.error = message

    def _take_up(self, config: Config) -> None:
        changes = describe_differences(self.current.model_dump(), config.model_dump())
        if changes:
            log.info("%s has changed: %s", self.home.config.name, "; ".join(changes))
        elif self.error is not None:
            log.info("%s can be read again, and is as it was", self.home.config.name)
        self.current, self.error, self.read_at = config, None, time.time()


def take_file_stamp(home: Home) -> FileStamp:
    """Return what tells one state of config.toml from another."""
    try:
        info = os.stat(home.config)
    except OSError:
        return None
    return info.st_size, info.st_mtime_ns, info.st_ino
