"""Connection bounds one connection to the control socket: whose it is, and how long it may keep the daemon waiting.

uvicorn speaks HTTP; what it leaves open is bounded here, so that a client that stalls, leaks connections or never reads its
answer costs a little memory for a little while: a connection holds one descriptor and at most some buffers of 64 KiB.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from prefd.daemon.control.peer_credentials import describe_stranger
from prefd.daemon.timing import USUAL, Timing

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 100
"""Descriptors are few (256 for a process on macOS), and jobs need some."""


class Connection(H11Protocol):
    """Connection serves this user only, as the kernel tells who is at the other end of a Unix socket."""

    timing: Timing = USUAL
    most: int = MAX_CONNECTIONS
    """So many connections are answered at a time."""
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes a connection of this user where there is room, and aborts any other."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.since = self.loop.time()
        if (peer := self.describe_stranger(transport)) is not None:
            log.warning("refused a connection of %s", peer)
            transport.abort()
        elif self._make_room():
            super().connection_made(transport)
            self._expect_request()
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the timers with the connection."""
        self._stop_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feeds the parser, and starts or ends the time for the request."""
        super().data_received(data)
        self._expect_request()

    def pause_writing(self) -> None:
        """Gives a client that has stopped reading `timing.answer_read` seconds."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.timing.answer_read, self.transport.abort)

    def resume_writing(self) -> None:
        """Ends the time for a client that reads again."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def describe_stranger(self, transport: asyncio.Transport) -> str | None:
        """Names who must not be answered at the other end; None where it is this user."""
        return describe_stranger(transport.get_extra_info("socket"))

    @property
    def waiting(self) -> bool:
        """Says whether a request, or the rest of one, is still to come."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def _expect_request(self) -> None:
        """Gives what is still to come its time; it begins once, not with every byte."""
        if not self.waiting:
            self._stop_deadline()
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self.timing.request_arrival, self.transport.abort)

    def _make_room(self) -> bool:
        """Returns whether there is room for one more; the oldest connection without a whole request goes for it."""
        connections = [each for each in self.connections if isinstance(each, Connection)]
        if len(connections) < self.most:
            return True
        idle = [each for each in connections if each.waiting]
        if not idle:
            log.warning("refused a connection: %d are being answered", len(connections))
            return False
        oldest = min(idle, key=lambda each: each.since)
        self.connections.discard(oldest)
        oldest.transport.abort()
        return True

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _stop_timers(self) -> None:
        self._stop_deadline()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


def make_limits(timing: Timing, connection: type[Connection] = Connection) -> dict[str, Any]:
    """Returns the limits that uvicorn itself keeps, and its connections' class and `timing`, for `uvicorn.Config`."""
    return {
        "http": type("TimedConnection", (connection,), {"timing": timing}),  # uvicorn makes them itself, of a class
        "h11_max_incomplete_event_size": 32_768,  # of a request's head
        "timeout_keep_alive": 5,
        "timeout_graceful_shutdown": 2,
    }
