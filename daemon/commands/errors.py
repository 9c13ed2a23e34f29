"""What can be expected to go wrong, the message for it, and the exit code scripts may rely on."""

from __future__ import annotations

from enum import IntEnum
from typing import IO, Any

import click

from prefd.daemon import render
from prefd.daemon.rundir import DISK_TROUBLE


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NO_DAEMON = 4
    JOB_FAILED = 5


# By name, because importing them would import what raises them (httpx, pydantic, zarr).
EXPECTED = {
    "prefd.daemon.specfile.SpecError": Exit.FAILED,
    "prefd.daemon.watched.FolderUnusable": Exit.FAILED,
    "prefd.daemon.config.ConfigError": Exit.FAILED,
    "prefd.daemon.catalog.CatalogError": Exit.FAILED,
    "prefd.daemon.job.JobNotFound": Exit.NOT_FOUND,
    "prefd.daemon.job.IllegalTransition": Exit.FAILED,
    "prefd.daemon.database.JobTableError": Exit.FAILED,
    "prefd.daemon.client.DaemonNotRunning": Exit.NO_DAEMON,
    "prefd.daemon.client.ControlError": Exit.FAILED,
    "prefd.daemon.lock.AlreadyRunning": Exit.FAILED,
    "prefd.cache.store.NotACache": Exit.FAILED,
    "prefd.cache.bucket.CannotShare": Exit.FAILED,
    "prefd.cache.bucket.StoreTrouble": Exit.FAILED,
}


class Failure(click.ClickException):
    """An error for the user: `message` on stderr, `code` as the exit code."""

    def __init__(self, message: str, code: Exit = Exit.FAILED):
        super().__init__(message)
        self.exit_code = int(code)  # type: ignore[misc]  # click reads it from the instance, and types it as the class's

    def show(self, file: IO[Any] | None = None) -> None:
        render.complain("error", "red", self.message)


def explain(error: Exception) -> Failure | None:
    """The failure to show for an expected error; None for a bug, which deserves its traceback."""
    for kind in type(error).__mro__:
        code = EXPECTED.get(f"{kind.__module__}.{kind.__qualname__}")
        if code is not None:
            return Failure(str(error), code)
    if isinstance(error, OSError) and error.filename is not None:
        return Failure(f"{error.filename}: {error.strerror}")
    if isinstance(error, OSError) and error.errno in DISK_TROUBLE:  # a write or an fsync names no file
        return Failure(f"the disk refuses: {error.strerror}; what was written whole by then stays")
    return None
