"""A Meeting finds out whether ranks reach each other, before MLX's ring tries it, which waits long and says little.

Each rank listens on a port that is free, and tries the one of the rank behind it. MLX then listens on the same ports.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from prefd.daemon.worker.errors import JobError

LOOK_SECONDS = 5.0


class Meeting:
    """Meeting listens on a free port of each of `ips` for the time of its block. Raises JobError for an address of another machine."""

    def __init__(self, ips: Sequence[str]) -> None:
        self._stack = ExitStack()
        self._listeners = [self._stack.enter_context(_listen(ip)) for ip in ips]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return where it listens: `ip:port`."""
        return tuple("{}:{}".format(*each.getsockname()) for each in self._listeners)


def _listen(ip: str) -> socket.socket:
    try:
        return socket.create_server((ip, 0))
    except OSError as error:
        raise JobError(
            f"{ip} is no address of this machine ({error.strerror or error}); mend its ips in [distributed] hosts"
        ) from None


def find_neighbour(addresses: Sequence[str]) -> str:
    """Try to reach a rank that listens on `addresses`; empty where that works, else what does not, in words."""
    for address in addresses:
        ip, _, port = address.partition(":")
        try:
            socket.create_connection((ip, int(port)), LOOK_SECONDS).close()
        except OSError as error:
            return f"{address}: {error.strerror or error}"
    return ""
