"""RefusedCall is a request that is answered with an HTTP error and a sentence; Failed is a promise that ends with one."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse, Response

from prefd.daemon.errors import PrefdError


class RefusedCall(PrefdError):
    """The request cannot be taken as it is. The message is for the person who runs the client, and says what to do.

    A client asks again after 408, 409, 429 and any 5xx, and gives up after the others.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.http_status = status


class UnsupportedCall(PrefdError):
    """A request that has its place in the order cannot be done: its promise ends with this message."""


def respond_refused(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with an error as clients of the protocol read it."""
    return JSONResponse({"detail": message}, status, headers)
