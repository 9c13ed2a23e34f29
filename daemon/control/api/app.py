"""The application: every room's endpoints, and what an error looks like."""

from __future__ import annotations

import logging

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from prefd.daemon.control.api import daemon as service
from prefd.daemon.control.api import events, jobs, openapi, prometheus, queue
from prefd.daemon.control.api.endpoint import Controlled, Endpoint, refusal
from prefd.daemon.errors import PrefdError

log = logging.getLogger(__name__)


def endpoints(daemon: Controlled, hub: events.Hub) -> list[Endpoint]:
    """All there are, under /v1."""
    found = [
        *service.endpoints(daemon),
        *jobs.endpoints(daemon),
        *queue.endpoints(daemon),
        *events.endpoints(daemon, hub),
        *prometheus.endpoints(daemon, lambda: hub.streams),
    ]
    return [*found, openapi.endpoint(found)]


def make_app(daemon: Controlled, hub: events.Hub) -> Starlette:
    """Every answer but the event stream and the metrics is JSON; every error an answers.Error."""

    async def expected(request: Request, error: Exception) -> Response:
        assert isinstance(error, PrefdError)
        return refusal(error.http_status, *error.lines)

    async def no_such_route(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return refusal(error.status_code, f"{request.method} {request.url.path}: {error.detail}")

    async def gone(request: Request, error: Exception) -> Response:
        return refusal(400, "the request was cut off")

    async def broken(request: Request, error: Exception) -> Response:
        return refusal(500, f"{type(error).__name__}: {error}")

    return Starlette(
        routes=[each.route() for each in endpoints(daemon, hub)],
        exception_handlers={
            PrefdError: expected,
            HTTPException: no_such_route,
            ClientDisconnect: gone,
            Exception: broken,
        },
    )
