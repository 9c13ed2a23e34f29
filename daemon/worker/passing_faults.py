"""Tells the faults of the machine that pass from those of a job: no network, and an installation that is being replaced.

An error is judged by all that it was raised from: libraries wrap what a socket or an import says in errors of their own.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

UNREACHABLE = {
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.EHOSTDOWN,
    errno.ETIMEDOUT,
    errno.ECONNREFUSED,
}
HTTP_CLIENTS = ("httpx", "httpcore", "requests", "urllib3", "aiohttp")
"""The beginnings of the names of HTTP clients' modules: the hub's library uses `httpx2`, too."""
NETWORK_ERRORS = {
    *("TransportError", "NetworkError", "TimeoutException", "ConnectionError", "ConnectError"),
    *("Timeout", "ClientConnectionError", "NewConnectionError"),
}
"""The names of the HTTP clients' errors of a request that got no answer, or of their bases."""
OFFLINE = "OfflineModeIsEnabled"
"""The name of the hub library's error where the user has told it to ask nobody."""
NOT_KEPT = "LocalEntryNotFoundError"
"""The name of its error for what it has not kept and could not ask for."""
TOO_MANY_REQUESTS = 429


def is_outage(error: BaseException) -> bool:
    """Return whether `error` says that the hub gave no answer, or that it is out of order; its refusal is the job's own fault."""
    causes = list(_list_causes(error))
    statuses = [status for each in causes if (status := _http_status(each)) is not None]
    if statuses:
        return all(status >= 500 or status == TOO_MANY_REQUESTS for status in statuses)
    if any(type(each).__name__ == OFFLINE for each in causes):  # the user's own wish
        return False
    return any(_is_network_error(each) for each in causes)


def is_unreached(error: BaseException) -> bool:
    """Return whether `error` says nothing but that the hub was not reached, be it by the user's own wish."""
    return is_outage(error) or any(type(each).__name__ in (OFFLINE, NOT_KEPT) for each in _list_causes(error))


def is_broken_installation(error: BaseException) -> bool:
    """Return whether `error` comes of a module that cannot be imported."""
    return any(isinstance(each, ImportError | SyntaxError) for each in _list_causes(error))


def _list_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and those it was raised from, the last first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _http_status(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _is_network_error(error: BaseException) -> bool:
    if isinstance(error, socket.gaierror | ConnectionError | TimeoutError):
        return True
    if isinstance(error, OSError) and error.errno in UNREACHABLE:
        return True
    return any(
        base.__module__.startswith(HTTP_CLIENTS) and base.__name__ in NETWORK_ERRORS for base in type(error).__mro__
    )
