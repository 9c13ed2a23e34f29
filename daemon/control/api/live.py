"""The endpoint by which `prefd serve` has a model queued that one of its clients holds."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from prefd.daemon.control.api.endpoint import Controlled, Endpoint, read_body, respond
from prefd.daemon.jobs.table import Job
from prefd.daemon.specs.live_spec import LiveModel


def list_endpoints(daemon: Controlled) -> Sequence[Endpoint]:
    """Lists the endpoint of clients' models."""

    async def open_live(request: Request) -> Response:
        model = await read_body(request, daemon.max_spec_bytes, LiveModel)
        return respond(daemon.open_live(model).to_json(), 202)

    return [
        Endpoint(
            "POST",
            "/v1/live",
            "Queue a model that a client holds; the same model is queued once",
            open_live,
            Job,
            status=202,
            request=LiveModel,
            errors={413: "it is too large", 422: "it is no such model: `lines` says why"},
        )
    ]
