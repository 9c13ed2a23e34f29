"""The endpoints that a client asks before and beside all others: whether it is answered, its flags, a token in place of its key."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prefd.daemon.live.bodies import read_body
from prefd.daemon.live.keys import Keys, needs_exchange


def list_routes(keys: Keys) -> Sequence[Route]:
    """List the routes."""

    async def check_health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def configure(request: Request) -> Response:
        await read_body(request)
        return JSONResponse({"pjwt_auth_enabled": needs_exchange(request.headers["x-api-key"])})

    async def configure_later(request: Request) -> Response:
        await read_body(request)
        return JSONResponse({})

    async def exchange(request: Request) -> Response:
        await read_body(request)
        return JSONResponse({"jwt": keys.make_token()})

    async def take_telemetry(request: Request) -> Response:
        await read_body(request)  # and nothing is done with it
        return JSONResponse({"status": "accepted"})

    return [
        Route("/healthz", check_health),
        Route("/client/config", configure, methods=["POST"]),
        Route("/client/dynamic_config", configure_later, methods=["POST"]),
        Route("/auth/token", exchange, methods=["POST"]),
        Route("/telemetry", take_telemetry, methods=["POST"]),
    ]
