"""ControlError is what the daemon refuses, as its client raises it."""

from __future__ import annotations

from prefd.daemon.errors import PrefdError


class ControlError(PrefdError):
    """The daemon answered with an error; the message is the daemon's.

    `status` is the HTTP status (404: no such job, 409: not in its state).
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = self.http_status = status
