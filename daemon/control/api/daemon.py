"""The daemon itself: what it does, and its end."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from prefd.daemon.control.api import responses
from prefd.daemon.control.api.endpoint import Controlled, Endpoint, answer
from prefd.daemon.control.status import Status


def endpoints(daemon: Controlled) -> Sequence[Endpoint]:
    async def status(request: Request) -> Response:
        return answer(daemon.status().to_json())

    async def stop(request: Request) -> Response:
        daemon.request_stop()
        return answer({"stopping": True}, 202)

    return [
        Endpoint("GET", "/v1/status", "What the daemon is doing", status, Status),
        Endpoint(
            "POST", "/v1/stop", "Stop the daemon; a second time, without waiting", stop, responses.Stopping, status=202
        ),
    ]
