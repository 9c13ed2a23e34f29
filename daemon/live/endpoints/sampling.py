"""The endpoints that open samplers, and sample from them or ask them for log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prefd.daemon.live.bodies import parse_document, read_json_body
from prefd.daemon.live.client_requests import CreateSampler, RetrieveFuture, SampleCall
from prefd.daemon.live.datums import parse_tokens
from prefd.daemon.live.futures import Futures
from prefd.daemon.live.models import Models
from prefd.daemon.live.promises import Promise, digest_content, write_body
from prefd.daemon.live.refusal import RefusedCall, UnsupportedCall
from prefd.daemon.live.samplers import open_sampler
from prefd.daemon.live.snapshots import note_use

MAX_PENDING = 4096
"""So many requests of one model may wait for their results; a client that is told 429 comes back a little later."""
LOGPROBS_METHODS = {"compute_logprobs", "compute_logprobs_async"}
"""How newer clients say that they ask for a prompt's log-probabilities alone, and draw a token that nobody reads."""


def list_routes(models: Models, futures: Futures) -> Sequence[Route]:
    """List the routes."""

    async def create_sampler(request: Request) -> Response:
        document, _ = await read_json_body(request)
        call = parse_document(document, CreateSampler)
        session = models.sessions.find(call.session_id)
        sampler_id = f"{session.id}:sample:{call.sampling_session_seq_id}"
        await open_sampler(models, session, sampler_id, call.base_model, call.model_path)
        return JSONResponse({"type": "create_sampling_session", "sampling_session_id": sampler_id})

    async def describe_sampler(request: Request) -> Response:
        sampler_id = request.path_params["sampler_id"]
        _, sampler = models.sessions.find_of_sampler(sampler_id)
        described = {"sampler_id": sampler_id, "base_model": sampler.base_model}
        return JSONResponse(described | ({"model_path": sampler.model_path} if sampler.model_path else {}))

    async def sample(request: Request) -> Response:
        document, body = await read_json_body(request)
        call = parse_document(document, SampleCall)
        call.check()
        _, sampler = models.sessions.find_of_sampler(call.sampling_session_id)
        model = await models.find(sampler.host)
        model.read_session()  # which says so where its job was removed
        note_use(sampler)
        request_id = f"{call.sampling_session_id}:{call.seq_id}"
        if model.journal.find(request_id) is None and not model.journal.has_room(MAX_PENDING):
            raise RefusedCall(429, f"{MAX_PENDING} requests wait already: send fewer at once")
        try:
            tokens = parse_tokens(call.prompt)
        except UnsupportedCall as error:
            raise RefusedCall(400, str(error)) from None
        method = request.headers.get("x-sdk-method", "").rpartition(".")[2]
        is_scored_alone = bool(call.prompt_logprobs) and method in LOGPROBS_METHODS
        work = make_scoring(call, tokens) if is_scored_alone else make_sampling(call, tokens)
        context = {"num_samples": call.num_samples if is_scored_alone else 0}
        promise = Promise(request_id, "sample", digest_content(body), context=context)
        durable_promise = await model.journal.submit(promise, write_body({**work, "path": sampler.folder}))
        names = [f"{request_id}:{index}" for index in range(call.num_samples)]
        return JSONResponse({"request_id": durable_promise.request_id, "sample_sequence_ids": names})

    async def retrieve(request: Request) -> Response:
        document, _ = await read_json_body(request)
        return await futures.retrieve(parse_document(document, RetrieveFuture).request_id, request.headers)

    return [
        Route("/create_sampling_session", create_sampler, methods=["POST"]),
        Route("/samplers/{sampler_id}", describe_sampler),
        Route("/asample", sample, methods=["POST"]),
        Route("/retrieve_future", retrieve, methods=["POST"]),
    ]


def make_scoring(call: SampleCall, tokens: Sequence[int]) -> dict[str, Any]:
    """Return the worker's request for a prompt's log-probabilities alone."""
    return {
        "kind": "compute_logprobs",
        "seq_id": call.seq_id,
        "tokens": tokens,
        "prompt_logprobs_last_n": call.prompt_logprobs_last_n,
    }


def make_sampling(call: SampleCall, tokens: Sequence[int]) -> dict[str, Any]:
    """Return the worker's request for continuations."""
    return {
        "kind": "sample",
        "seq_id": call.seq_id,
        "tokens": tokens,
        "num_samples": call.num_samples,
        "params": call.sampling_params.model_dump(),
        "prompt_logprobs": bool(call.prompt_logprobs),
        "prompt_logprobs_last_n": call.prompt_logprobs_last_n,
    }
