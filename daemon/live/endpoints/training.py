"""The endpoints that make a model, and train it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prefd.daemon.live.bodies import parse_apart, parse_document, read_body, read_json_body
from prefd.daemon.live.client_requests import CreateModel, ModelRequest, OptimStep, OrderedRequest
from prefd.daemon.live.datums import TrainingCall, parse_training_call, read_training_call
from prefd.daemon.live.endpoints.ordered import Work, promise_ordered
from prefd.daemon.live.models import ClientModel, Models
from prefd.daemon.live.refusal import RefusedCall, UnsupportedCall
from prefd.daemon.live.results import PROTOBUF


def list_routes(models: Models) -> Sequence[Route]:
    """List the routes."""

    async def create_model(request: Request) -> Response:
        document, body = await read_json_body(request)
        call = parse_document(document, CreateModel)
        session = models.sessions.find(call.session_id)
        call.optimizer_config.check()
        if call.lora_config is None:
            raise RefusedCall(400, "full fine-tuning is not supported here: give a lora_config")
        model_id = f"{session.id}:train:{call.model_seq_id}"
        lora, context = call.lora_config.model_dump(), {"type": "create_model", "model_id": model_id}
        promise = await models.open(
            session,
            model_id,
            call.base_model,
            content=body,
            lora=lora,
            user_metadata=call.user_metadata,
            context=context,
        )
        return JSONResponse({"request_id": promise.request_id, "model_id": model_id})

    async def describe(request: Request) -> Response:
        document, _ = await read_json_body(request)
        model = await models.find(parse_document(document, ModelRequest).model_id)
        return JSONResponse(describe_training_model(model))

    async def forward(request: Request) -> Response:
        return await take_call(models, request, forward_only=True)

    async def forward_backward(request: Request) -> Response:
        return await take_call(models, request, forward_only=False)

    async def step(request: Request) -> Response:
        document, body = await read_json_body(request)
        place = parse_document(document, OrderedRequest)
        return await promise_ordered(
            models, place.model_id, place.seq_id, "optim_step", body, lambda _: plan_step(document)
        )

    return [
        Route("/create_model", create_model, methods=["POST"]),
        Route("/get_info", describe, methods=["POST"]),
        Route("/forward", forward, methods=["POST"]),
        Route("/forward_backward", forward_backward, methods=["POST"]),
        Route("/optim_step", step, methods=["POST"]),
    ]


async def take_call(models: Models, request: Request, forward_only: bool) -> Response:
    """Take a forward or forward-backward request, in protobuf or JSON. Raises RefusedCall, OSError."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == PROTOBUF:
        body = await read_body(request)
        call = await parse_apart(read_training_call, body)
        call.forward_only = call.forward_only or forward_only
    else:
        document, body = await read_json_body(request)
        call = await parse_apart(lambda _: parse_training_call(document, forward_only), body)
    return await promise_call(models, call, body)


def plan_step(document: dict[str, Any]) -> Work:
    """Return a step of the optimizer. Raises RefusedCall, and UnsupportedCall for another optimizer."""
    call = parse_document(document, OptimStep)
    if call.adam_params is None:
        raise UnsupportedCall("only adam_params are supported here: the optimizer is AdamW")
    return Work({"kind": "optim_step", "seq_id": call.seq_id, "adam_params": call.adam_params.model_dump()})


async def promise_call(models: Models, call: TrainingCall, body: bytes) -> Response:
    """Promise the result of a forward or forward-backward request. Raises RefusedCall, OSError."""

    def plan(_: ClientModel) -> Work:
        if call.unsupported:
            raise UnsupportedCall(call.unsupported)
        return Work(call.make_document())

    # both of the client's ways to say "forward only" may come with the same bytes
    content = body + bytes([call.forward_only])
    return await promise_ordered(models, call.model_id, call.seq_id, "loss", content, plan)


def describe_training_model(model: ClientModel) -> dict[str, Any]:
    """Return what a client is told of its model; before it is loaded, what was asked for."""
    session, info = model.read_session(), model.read_info()
    lora = session.get("lora")
    data = {
        "arch": info.arch if info else "unknown",
        "model_name": session["base_model"],
        "tokenizer_id": info.tokenizer if info else session["model"],
    }
    return {
        "type": "get_info",
        "model_id": model.id,
        "model_data": data,
        "model_name": session["base_model"],
        "is_lora": lora is not None,
        "lora_rank": lora["rank"] if lora else None,
        "optimizer_config": {"type": "adamw"},
    }
