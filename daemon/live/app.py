"""`make_live_app` builds the application that Tinker clients speak to, behind its guard."""

from __future__ import annotations

from collections.abc import Collection

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.types import ASGIApp

from prefd.daemon.errors import PrefdError
from prefd.daemon.live.endpoints import (
    client,
    loading,
    sampling,
    saved_weights,
    saving,
    session,
    training,
    training_runs,
)
from prefd.daemon.live.futures import Futures, Waits
from prefd.daemon.live.guard import Guard
from prefd.daemon.live.keys import Keys
from prefd.daemon.live.models import Models
from prefd.daemon.live.refusal import respond_refused
from prefd.plugins.errors import describe_exception

PREFIX = "/api/v1"


def make_live_app(models: Models, keys: Keys, hosts: Collection[str], waits: Waits | None = None) -> ASGIApp:
    """Build the application. `hosts`: the names by which it may be asked."""
    futures = Futures(models, waits or Waits())
    routes = [
        *client.list_routes(keys),
        *session.list_routes(models),
        *training.list_routes(models),
        *sampling.list_routes(models, futures),
        *saving.list_routes(models),
        *loading.list_routes(models),
        *saved_weights.list_routes(models),
        *training_runs.list_routes(models),
    ]

    async def answer_expected(request: Request, error: Exception) -> Response:
        assert isinstance(error, PrefdError)
        return respond_refused(error.http_status, str(error))

    async def answer_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return respond_refused(error.status_code, f"{request.method} {request.url.path[:200]} is not served here")

    async def answer_disconnect(request: Request, error: Exception) -> Response:
        return respond_refused(400, "the request was cut off")

    async def answer_disk(request: Request, error: Exception) -> Response:
        assert isinstance(error, OSError)
        return respond_refused(503, f"the request cannot be written down: {error.strerror or error}")

    async def answer_fault(request: Request, error: Exception) -> Response:
        return respond_refused(500, describe_exception(error))

    app = Starlette(
        routes=[Mount(PREFIX, routes=routes)],
        exception_handlers={
            PrefdError: answer_expected,
            HTTPException: answer_http_error,
            ClientDisconnect: answer_disconnect,
            OSError: answer_disk,
            Exception: answer_fault,
        },
    )
    return Guard(app, keys, hosts)
