"""Tells a file that cannot be read from one that is damaged: a missing right says nothing about the bytes."""

from __future__ import annotations

import errno

from prefd.cache.errors import CacheError

MACHINE_TROUBLE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR}
"""Errors that say nothing about the file: they are raised, never taken for damage."""


class NotPermitted(CacheError, PermissionError):
    """NotPermitted is raised for a file that this user may not read. What it holds is there: nothing is scored again, set aside or removed."""

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


def raise_if_unreadable(error: BaseException) -> None:
    """Raises `error` if it says nothing about the bytes to be read: a missing right, or the machine's trouble."""
    if isinstance(error, PermissionError):
        message = "this user may not read it; give it the right to, or run prefd as its owner"
        raise NotPermitted(error.errno, message, error.filename) from error
    if isinstance(error, OSError) and error.errno in MACHINE_TROUBLE:
        raise error
