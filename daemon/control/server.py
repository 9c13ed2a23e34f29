"""Serves the control API: HTTP/JSON over a Unix socket that only this user can reach.

uvicorn would make the socket with mode 0666, so it is bound here, inside a 0700 folder, and handed over. What is
answered is in prefd.daemon.control.api; how long a connection may take, and whose it must be, in prefd.daemon.control.connection.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prefd.daemon.control.api.app import make_app
from prefd.daemon.control.api.endpoint import Controlled, respond_refusal
from prefd.daemon.control.api.events import Hub
from prefd.daemon.control.connection import make_limits
from prefd.daemon.home.identity import read_folder_id
from prefd.daemon.home.layout import MAX_SOCKET_BYTES, Home
from prefd.daemon.timing import USUAL, Timing

log = logging.getLogger(__name__)
CANCELLATION = "Cancel %s running task(s)"
"""The beginning of what uvicorn logs as an error where answers are given up at the end; each is refused in words, so nothing is lost."""


@contextmanager
def listening(home: Home) -> Iterator[socket.socket]:
    """Binds a socket at `home.socket`, mode 0600, and removes it afterwards; the home's lock must be held.

    Where that path is longer than the platform allows, or its file system has no sockets, as exFAT and most networks' have
    none, it is `prefd.sock` in a new private temporary folder, which `daemon.json` names to the clients.
    """
    path = home.socket
    private: Path | None = None
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    lock_file = read_folder_id(home.lock)
    try:
        if (refusal := _refuse_bind(listener, path)) is not None:
            private = _make_private_folder(home.socket.name)
            path = private / home.socket.name
            log.warning("no socket can be at %s: %s; listening on %s", home.socket, refusal, path)
            listener.bind(os.fspath(path))
        path.chmod(0o600)
        yield listener
    finally:
        listener.close()
        # Not the socket of another home that has got this one's name. The lock tells, for it is still open: the number of a
        # socket that is closed may be the next one's.
        if private is not None or read_folder_id(home.lock) == lock_file:
            path.unlink(missing_ok=True)
        if private is not None:
            private.rmdir()


def _make_private_folder(name: str) -> Path:
    """Make a folder of mode 0700 in which a socket may be called `name`: in /tmp where $TMPDIR is too long for that."""
    folder = Path(tempfile.mkdtemp(prefix="prefd-"))
    if len(os.fsencode(folder / name)) > MAX_SOCKET_BYTES:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="prefd-", dir="/tmp"))
    return folder


def _refuse_bind(listener: socket.socket, path: Path) -> str | None:
    """Bind the listener at `path`; return in words why it cannot be there, None where it is."""
    if len(os.fsencode(path)) > MAX_SOCKET_BYTES:
        return f"a socket's path has at most {MAX_SOCKET_BYTES} bytes here"
    try:
        path.unlink(missing_ok=True)  # left by a daemon that was killed
        listener.bind(os.fspath(path))
    except OSError as error:
        return error.strerror or str(error)
    return None


class _Server(uvicorn.Server):
    """A uvicorn server that leaves the signals to the daemon."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def is_worth_logging(record: logging.LogRecord) -> bool:
    """Says whether a line of uvicorn's log is for anybody: all are but the one about answers that are refused at the end."""
    return not str(record.msg).startswith(CANCELLATION)


async def serve_control(daemon: Controlled, listener: socket.socket, timing: Timing = USUAL) -> None:
    """Answers on `listener` until cancelled; requests that are being answered are finished first."""
    hub = Hub(daemon.home, timing)
    await serve_app(make_app(daemon, hub), hub.close, listener, make_limits(timing))


async def serve_app(
    app: ASGIApp, end_answers: Callable[[], None], listener: socket.socket, limits: Mapping[str, Any]
) -> None:
    """Answers on `listener` until cancelled; requests that are being answered are finished first, those that last when `end_answers` was called.

    What takes longer than the limits' `timeout_graceful_shutdown` is answered with 503.
    """
    config = uvicorn.Config(
        _refuse_at_the_end(app),
        lifespan="off",
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        **limits,
    )
    logging.getLogger("uvicorn.error").addFilter(is_worth_logging)  # it is added once, however often it is
    server = _Server(config)
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        end_answers()
        server.should_exit = True
        await serving
        raise


def _refuse_at_the_end(app: ASGIApp) -> ASGIApp:
    """Return an application that refuses what is still being answered when uvicorn cancels it, which otherwise logs a traceback for each."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await app(scope, receive, send_and_note)
        except asyncio.CancelledError:  # uvicorn cancels an answer at the end alone
            if not has_begun:
                await respond_refusal(503, "it was stopped before it could answer: ask again once it runs")(
                    scope, receive, send
                )

    return answer
