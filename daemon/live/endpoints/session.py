"""The endpoints of a client's session: which models there are, its begin, its heartbeats, its end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prefd.daemon.live.bodies import parse_document, read_json_body
from prefd.daemon.live.client_requests import CreateSession, FinishSession
from prefd.daemon.live.models import Models
from prefd.daemon.live.refusal import RefusedCall
from prefd.daemon.live.releasing import end_session


def list_routes(models: Models) -> Sequence[Route]:
    """List the routes."""
    sessions = models.sessions

    async def list_models(request: Request) -> Response:
        supported = [describe_model(name, model) for name, model in models.names.items()]
        return JSONResponse({"supported_models": supported})

    async def create_session(request: Request) -> Response:
        document, _ = await read_json_body(request)
        call = parse_document(document, CreateSession)
        key = request.headers.get("x-idempotency-key", "")[:200]
        session = sessions.create(key, call.user_metadata or {}, call.display_name)
        return JSONResponse({"type": "create_session", "session_id": session.id})

    async def beat(request: Request) -> Response:
        document, _ = await read_json_body(request)
        sessions.find(document.get("session_id"))
        return JSONResponse({"type": "session_heartbeat"})

    async def describe(request: Request) -> Response:
        session = sessions.by_id.get(request.path_params["session_id"])
        if session is None:
            raise RefusedCall(404, f"there is no session {request.path_params['session_id'][:100]!r}")
        trained = [name for name in session.models if name not in session.samplers]
        described = {"training_run_ids": trained, "sampler_ids": list(session.samplers)}
        notes = {"user_metadata": session.user_metadata or None, "display_name": session.display_name}
        return JSONResponse(described | notes)

    async def finish(request: Request) -> Response:
        document, _ = await read_json_body(request)
        session = sessions.by_id.get(request.path_params["session_id"])
        if session is not None and not session.ended:
            how = parse_document(document, FinishSession).reason.type
            await end_session(models, session, f"its client ended it ({how[:50]})")
        return JSONResponse({})

    return [
        Route("/get_server_capabilities", list_models),
        Route("/create_session", create_session, methods=["POST"]),
        Route("/session_heartbeat", beat, methods=["POST"]),
        Route("/sessions/{session_id}", describe),
        Route("/sessions/{session_id}/finish", finish, methods=["POST"]),
    ]


def describe_model(name: str, model: str) -> dict[str, Any]:
    """Return what a client is told of a model that it may use; its longest prompt where its folder is here."""
    described: dict[str, Any] = {"model_name": name, "trainable": True, "sampleable": True}
    try:
        config = json.loads((Path(model) / "config.json").read_bytes())
        longest = config.get("max_position_embeddings")
    except (OSError, ValueError, AttributeError):
        return described
    return {**described, "max_context_length": longest} if isinstance(longest, int) else described
