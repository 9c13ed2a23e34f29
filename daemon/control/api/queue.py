"""The endpoints that act on the queue as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from prefd.daemon.control.answers import Acted
from prefd.daemon.control.api.endpoint import Controlled, Endpoint, respond
from prefd.daemon.jobs.actions import QUEUE_ACTIONS, QUEUE_SUMMARIES


def list_endpoints(daemon: Controlled) -> Sequence[Endpoint]:
    """Lists an endpoint for each action on the queue."""

    def of_queue(action: str) -> Endpoint:
        async def act(request: Request) -> Response:
            return respond(daemon.act_on_queue(action).to_json(), 202)

        return Endpoint("POST", f"/v1/queue/{action}", QUEUE_SUMMARIES[action], act, Acted, status=202)

    return [of_queue(action) for action in QUEUE_ACTIONS]
