"""The endpoints of the daemon itself: its status, and its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from prefd.daemon.control.api import responses
from prefd.daemon.control.api.endpoint import Controlled, Endpoint, Query, Refusal, read_query, respond
from prefd.daemon.control.status import Status
from prefd.daemon.machine.readability import explain_unreadable
from prefd.daemon.machine.threads import run_in_thread


class ReadableQuery(Query):
    """ReadableQuery holds the parameters of `GET /v1/readable`."""

    path: str
    """An absolute path."""


def list_endpoints(daemon: Controlled) -> Sequence[Endpoint]:
    """Lists the endpoints that tell what the daemon does and that stop it."""

    async def status(request: Request) -> Response:
        return respond(daemon.status().to_json())

    async def stop(request: Request) -> Response:
        daemon.request_stop()
        return respond({"stopping": True}, 202)

    async def readable(request: Request) -> Response:
        path = read_query(request, ReadableQuery).path
        if not path.startswith("/") or "\0" in path:
            raise Refusal(422, f"path: must be absolute, got {path!r}")
        return respond({"path": path, "reason": await run_in_thread(explain_unreadable, Path(path))})

    return [
        Endpoint("GET", "/v1/status", "What the daemon is doing", status, Status, of_daemon=True),
        Endpoint(
            "GET",
            "/v1/readable",
            "Whether the daemon itself can read a file or folder",
            readable,
            responses.Readable,
            query=ReadableQuery,
            errors={422: "the path is not absolute"},
            of_daemon=True,
        ),
        Endpoint(
            "POST", "/v1/stop", "Stop the daemon; a second time, without waiting", stop, responses.Stopping, status=202
        ),
    ]
