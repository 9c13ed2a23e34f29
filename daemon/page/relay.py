"""Relay hands what only the daemon can do to the daemon, over its Unix socket, and its answer back as it is."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from prefd.daemon.control.api.endpoint import Refusal, read_bytes
from prefd.daemon.control.client import Client, DaemonNotRunning, DaemonSilent
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.threads import run_in_thread

PATIENCE_SECONDS = 60.0
"""For an answer: a spec that is posted may wait until the losses have been listed."""


class Relay:
    """Relay asks the daemon of one home."""

    def __init__(self, home: Home, max_body: int) -> None:
        self.home = home
        self.max_body = max_body
        self.client = Client(home, PATIENCE_SECONDS)

    async def answer(self, request: Request) -> Response:
        """Answers as the daemon does. Raises Refusal (503) where none runs."""
        body = await read_bytes(request, self.max_body, "what is posted")
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        media = request.headers.get("content-type", "application/json")
        try:
            reply = await run_in_thread(self.client.relay, request.method, target, body, media)
        except DaemonSilent:
            raise
        except DaemonNotRunning:
            raise Refusal(
                503, f"no daemon runs on {self.home.root}, and this needs one: `prefd start --detach` starts it"
            ) from None
        return Response(
            reply.content, reply.status_code, headers={"Content-Type": reply.headers.get("content-type", "")}
        )
