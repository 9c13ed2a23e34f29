"""Futures answers a client that waits for a promise: with the result, with why there is none, or that it is to ask again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from starlette.responses import JSONResponse, Response

from prefd.daemon.live.jobs import Standing
from prefd.daemon.live.models import CREATE, ClientModel, Models
from prefd.daemon.live.promises import Promise
from prefd.daemon.live.refusal import RefusedCall
from prefd.daemon.live.results import (
    PROTOBUF,
    accepts_protobuf,
    describe_loss,
    describe_sample,
    encode_loss,
    encode_sample,
    fill_sequences,
)
from prefd.daemon.worker_tasks.live_requests import (
    FailedResult,
    InfoResult,
    LiveResult,
    LossResult,
    OptimStepResult,
    SampleResult,
    SavedResult,
    parse_result,
)

Render = Callable[[Any, Promise, bool], Response]
"""Makes the answer of a result; the last argument says whether the client reads protobuf."""


@dataclass(frozen=True)
class Waits:
    """Waits says for how many seconds the server waits for what."""

    poll: float = 20.0
    """For a result, before a client is told to ask again; it waits for 45."""
    first_look: float = 0.01
    """Between two looks for a result, at first."""
    last_look: float = 0.1
    """And when it has waited for long."""
    standing_look: float = 1.0
    """Between two looks at how the model's job stands."""


def render_loss(result: LossResult, promise: Promise, is_protobuf: bool) -> Response:
    """Answer with the numbers of a loss."""
    if is_protobuf:
        return Response(encode_loss(result), media_type=PROTOBUF)
    return JSONResponse(describe_loss(result))


def render_sample(result: SampleResult, promise: Promise, is_protobuf: bool) -> Response:
    """Answer with what was sampled, or with a prompt's log-probabilities."""
    filled = fill_sequences(result, promise.context.get("num_samples", 1))
    if is_protobuf:
        return Response(encode_sample(filled), media_type=PROTOBUF)
    return JSONResponse(describe_sample(filled))


def render_step(result: OptimStepResult, promise: Promise, is_protobuf: bool) -> Response:
    """Answer with the metrics of a step of the optimizer."""
    return JSONResponse({"metrics": dict(result.metrics)})


def render_context(result: LiveResult, promise: Promise, is_protobuf: bool) -> Response:
    """Answer with what was settled when the promise was made."""
    return JSONResponse(dict(promise.context))


RENDERERS: Mapping[str, tuple[type[LiveResult], Render]] = {
    CREATE: (InfoResult, render_context),
    "loss": (LossResult, render_loss),
    "optim_step": (OptimStepResult, render_step),
    "saved": (SavedResult, render_context),
    "sample": (SampleResult, render_sample),
}
"""What a promise's result is read as, and how it is answered, by the promise's kind."""


class Futures:
    """Futures answers for all models."""

    def __init__(self, models: Models, waits: Waits) -> None:
        self.models = models
        self.waits = waits

    async def find(self, request_id: str) -> tuple[ClientModel, Promise]:
        """Return the promise of a request, and the model whose worker keeps it. Raises RefusedCall (404, 410)."""
        owner = request_id.rpartition(":")[0]
        sessions = self.models.sessions
        session = sessions.find(owner.partition(":")[0])
        hosts = [owner] if owner in session.models else []
        hosts += [session.samplers[owner].host] if owner in session.samplers else []
        for host in hosts:
            model = await self.models.find(host)
            if (promise := model.journal.find(request_id)) is not None:
                return model, promise
        raise RefusedCall(404, f"there is no request {request_id[:200]!r}")

    async def retrieve(self, request_id: str, headers: Mapping[str, str]) -> Response:
        """Answer with a request's result, once it is there; with 408 where it takes longer. Raises RefusedCall (404, 410)."""
        loop = asyncio.get_running_loop()
        model, promise = await self.find(request_id)
        deadline, next_standing, pause = loop.time() + self.waits.poll, 0.0, self.waits.first_look
        standing: Standing | None = None
        while True:
            if promise.error:
                return respond_failed(promise.error, "user")
            if promise.n is not None and (content := model.journal.read_result(promise.n)) is not None:
                return self._render(model, promise, content, accepts_protobuf(headers))
            if loop.time() >= next_standing:
                if standing is not None and standing.ended:  # and it was so before the last look for a result
                    reason = f"job {model.job_id} {standing.state}: {standing.reason}"
                    with suppress(OSError):  # the folder may be gone, or the disk full
                        await model.journal.call_off(promise, reason)
                    return respond_failed(reason, "server")
                standing, next_standing = await self._look(model), loop.time() + self.waits.standing_look
                if standing is not None and standing.ended:
                    next_standing = 0.0
                    continue
                if promise.n is not None and model.journal.is_forgotten(promise.n):
                    raise RefusedCall(404, f"the result of request {request_id} was fetched already, and is deleted")
            if loop.time() >= deadline:
                return respond_again(request_id, explain_wait(model, promise, standing))
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, self.waits.last_look)
            if promise.n is None:
                promise = model.journal.find(request_id) or promise

    async def _look(self, model: ClientModel) -> Standing | None:
        """Return how the model's job stands; None where that cannot be told now."""
        try:
            return await self.models.jobs.look(model.job_id)
        except RefusedCall:  # a poll that is answered with 5xx is asked again at once, and again
            return None

    def _render(self, model: ClientModel, promise: Promise, content: bytes, is_protobuf: bool) -> Response:
        kind, render = RENDERERS[promise.kind]
        try:
            result = parse_result(kind, content)
        except ValidationError as error:
            return respond_failed(f"its result cannot be read: {error.errors()[0]['msg']}", "server")
        assert promise.n is not None
        model.journal.note_fetched(promise.n)
        if isinstance(result, FailedResult):
            return respond_failed(result.error, result.category)
        return render(result, promise, is_protobuf)


def respond_failed(message: str, category: str) -> Response:
    """Answer that a request cannot be done; it is 200, as the poll itself was."""
    return JSONResponse({"error": message, "category": category})


def explain_wait(model: ClientModel, promise: Promise, standing: Standing | None) -> str:
    """Say what a request waits for besides its model's work; empty where it waits for nothing else."""
    if promise.n is None:
        missing = model.journal.next_seq
        return f"request {promise.seq} comes behind request {missing}, which has not arrived"
    if standing is None or standing.runs:
        return ""
    return f"job {standing.job_id} is {standing.state}: {standing.reason or 'it waits for its turn'}"


def respond_again(request_id: str, reason: str) -> Response:
    """Answer that a client is to ask again, and what it waits for, which it shows where it is told that it pauses."""
    document = {"type": "try_again", "request_id": request_id}
    document |= (
        {"queue_state": "paused_capacity", "queue_state_reason": reason} if reason else {"queue_state": "active"}
    )
    return JSONResponse(document, 408)
