"""ServerRun answers on a socket until it is told to stop: by a signal, by the end of the process that started it, or by the loss of the home."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp

from prefd.daemon.control.server import serve_app
from prefd.daemon.home.identity import HomeFolder
from prefd.daemon.home.layout import Home
from prefd.daemon.timing import Timing

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerRun:
    """ServerRun is an application, and what it is served with."""

    app: ASGIApp
    end_answers: Callable[[], None]
    """Called when it is to stop, so that no stream and no long answer holds it up."""
    listener: socket.socket
    limits: Mapping[str, Any]
    """For `uvicorn.Config`."""
    supervised: bool
    """Whether it ends with the process that started it."""

    async def run(self, home: Home, announce: Callable[[], None], timing: Timing) -> None:
        """Answer until stopped. `announce`: called once it listens."""
        serving = asyncio.ensure_future(serve_app(self.app, self.end_answers, self.listener, self.limits))
        _stop_on_signals(serving)
        if self.supervised:
            _stop_at_end_of_input(serving)
        watching = asyncio.ensure_future(_stop_when_home_is_lost(home, serving, timing))
        announce()
        try:
            with suppress(asyncio.CancelledError):  # it was told to stop
                await serving
        finally:
            watching.cancel()


def _stop_on_signals(serving: asyncio.Future[None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, serving.cancel)


def _stop_at_end_of_input(serving: asyncio.Future[None]) -> None:
    """Stop when the other end of the input is closed: the daemon that started this process has ended, however it did."""
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()

    def read() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            serving.cancel()

    loop.add_reader(descriptor, read)


async def _stop_when_home_is_lost(home: Home, serving: asyncio.Future[None], timing: Timing) -> None:
    """Stop when the home has gone away: nothing could be read or changed."""
    folder = HomeFolder.find(home.root)
    while (lost := folder.describe_loss()) is None:
        await asyncio.sleep(timing.home_look)
    log.error("%s; it ends", lost)
    serving.cancel()
