"""The control API: HTTP/JSON over a Unix socket that only this user can reach.

uvicorn would make the socket with mode 0666, so it is bound here, inside a 0700 folder, and handed over.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prefd.daemon.actions import JOB_ACTIONS, QUEUE_ACTIONS
from prefd.daemon.home import Home
from prefd.daemon.jobs import IllegalTransition, Job, JobNotFound

log = logging.getLogger(__name__)

MAX_SOCKET_BYTES = 103 if sys.platform == "darwin" else 107


class Controlled(Protocol):
    """What the API can ask of the daemon."""

    def status(self) -> dict[str, Any]: ...
    def request_stop(self) -> None: ...
    def act(self, action: str, job_id: int) -> Job:
        """One of JOB_ACTIONS. Raises JobNotFound, IllegalTransition."""
        ...

    def act_on_queue(self, action: str) -> dict[str, Any]:
        """One of QUEUE_ACTIONS: {"queue": as in `status`, "jobs": those acted on}."""
        ...


def make_app(daemon: Controlled) -> Starlette:
    """The routes under /v1. Every answer is JSON; an error is `{"error": "what and where"}`."""

    async def status(request: Request) -> Response:
        return JSONResponse(daemon.status())

    async def stop(request: Request) -> Response:
        daemon.request_stop()
        return JSONResponse({"stopping": True}, status_code=202)

    def of_job(action: str) -> Route:
        async def act(request: Request) -> Response:
            return JSONResponse(daemon.act(action, request.path_params["job_id"]).to_json(), status_code=202)

        return Route(f"/v1/jobs/{{job_id:int}}/{action}", act, methods=["POST"])

    def of_queue(action: str) -> Route:
        async def act(request: Request) -> Response:
            return JSONResponse(daemon.act_on_queue(action), status_code=202)

        return Route(f"/v1/queue/{action}", act, methods=["POST"])

    async def no_such_job(request: Request, error: Exception) -> Response:
        return _error(404, str(error))

    async def not_possible(request: Request, error: Exception) -> Response:
        return _error(409, str(error))

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _error(error.status_code, f"{request.method} {request.url.path}: {error.detail}")

    async def broken(request: Request, error: Exception) -> Response:
        return _error(500, f"{type(error).__name__}: {error}")

    return Starlette(
        routes=[
            Route("/v1/status", status, methods=["GET"]),
            Route("/v1/stop", stop, methods=["POST"]),
            *map(of_job, JOB_ACTIONS),
            *map(of_queue, QUEUE_ACTIONS),
        ],
        exception_handlers={
            JobNotFound: no_such_job,
            IllegalTransition: not_possible,
            HTTPException: refused,
            Exception: broken,
        },
    )


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status_code=status)


@contextmanager
def listening(home: Home) -> Iterator[socket.socket]:
    """A bound socket at `home.socket`, mode 0600, gone afterwards; the home's lock must be held.

    Where that path is longer than the platform allows, it is `prefd.sock` in a new private temporary folder, which
    `daemon.json` names to the clients.
    """
    path = home.socket
    private: Path | None = None
    if len(os.fsencode(path)) > MAX_SOCKET_BYTES:
        private = Path(tempfile.mkdtemp(prefix="prefd-"))  # 0700
        path = private / home.socket.name
        log.warning("%s is longer than a socket's path may be; listening on %s", home.socket, path)
    path.unlink(missing_ok=True)  # left by a daemon that was killed
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(path))
        path.chmod(0o600)
        yield listener
    finally:
        listener.close()
        path.unlink(missing_ok=True)
        if private is not None:
            private.rmdir()


class _Server(uvicorn.Server):
    """Leaves the signals to the daemon."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_control(daemon: Controlled, listener: socket.socket) -> None:
    """Answer on `listener` until cancelled; requests that are being answered are finished first."""
    config = uvicorn.Config(
        make_app(daemon),
        lifespan="off",
        ws="none",
        http="h11",
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    server = _Server(config)
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving
        raise
