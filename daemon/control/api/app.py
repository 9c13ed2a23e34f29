"""Builds the application from every module's endpoints, and decides what an error looks like."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from prefd.daemon.control.api import (
    changes,
    events,
    jobs,
    live,
    losses,
    openapi,
    pairs,
    prometheus,
    queue,
    samples,
    validation,
)
from prefd.daemon.control.api import daemon as service
from prefd.daemon.control.api.endpoint import Controlled, Endpoint, respond_refusal
from prefd.daemon.errors import PrefdError
from prefd.plugins.errors import describe_exception

log = logging.getLogger(__name__)


def list_shared_endpoints(daemon: Controlled, hub: events.Hub) -> list[Endpoint]:
    """Lists the endpoints that the control socket and `prefd web` have in common. A new file of endpoints gets its line here."""
    return [
        *service.list_endpoints(daemon),
        *jobs.list_endpoints(daemon),
        *changes.list_endpoints(daemon),
        *queue.list_endpoints(daemon),
        *live.list_endpoints(daemon),
        *pairs.list_endpoints(daemon),
        *samples.list_endpoints(daemon),
        *losses.list_endpoints(daemon),
        *validation.list_endpoints(daemon),
        *events.list_endpoints(daemon, hub),
        *prometheus.list_endpoints(daemon, lambda: hub.streams),
    ]


def list_endpoints(daemon: Controlled, hub: events.Hub) -> list[Endpoint]:
    """Lists all the endpoints of the control socket, under /v1."""
    shared = list_shared_endpoints(daemon, hub)
    return [*shared, openapi.describe_endpoints(shared)]


def make_app(daemon: Controlled, hub: events.Hub) -> Starlette:
    """Builds the daemon's application: every answer but the event stream and the metrics is JSON."""
    return make_app_of(list_endpoints(daemon, hub))


def make_app_of(endpoints: Sequence[Endpoint]) -> Starlette:
    """Builds an application of these endpoints, in which every error is a `responses.Error`."""

    async def answer_expected(request: Request, error: Exception) -> Response:
        assert isinstance(error, PrefdError)
        return respond_refusal(error.http_status, *error.lines)

    async def answer_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return respond_refusal(error.status_code, f"{request.method} {request.url.path}: {error.detail}")

    async def answer_disconnect(request: Request, error: Exception) -> Response:
        return respond_refusal(400, "the request was cut off")

    async def answer_fault(request: Request, error: Exception) -> Response:
        return respond_refusal(500, describe_exception(error))

    return Starlette(
        routes=[each.route() for each in endpoints],
        exception_handlers={
            PrefdError: answer_expected,
            HTTPException: answer_http_error,
            ClientDisconnect: answer_disconnect,
            Exception: answer_fault,
        },
    )
