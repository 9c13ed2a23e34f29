"""`promise_ordered` takes a request that has its place in the order of a model's requests, also one that cannot be done.

A client counts its requests, and sends the next one whatever became of the last. So what cannot be done is promised too, and the
promise ends with the reason: were it refused instead, all that comes behind it would wait for its number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse, Response

from prefd.daemon.live.models import ClientModel, Models
from prefd.daemon.live.promises import Promise, digest_content, write_body
from prefd.daemon.live.refusal import RefusedCall, UnsupportedCall
from prefd.daemon.machine.threads import run_in_thread


@dataclass(frozen=True)
class Work:
    """Work is what a worker is to do for a request, and what its answer needs beside the result."""

    document: Mapping[str, Any]
    context: Mapping[str, Any] = field(default_factory=dict)


async def promise_ordered(
    models: Models, model_id: str, seq_id: int, kind: str, content: bytes, plan: Callable[[ClientModel], Work]
) -> Response:
    """Promise what `plan` makes of the request, or that it fails with what `plan` refuses. Raises RefusedCall, OSError."""
    model = await models.find(model_id)
    if model.read_session()["lora"] is None:
        raise RefusedCall(400, f"{model.id} is not trained: it only samples")
    request_id, digest = f"{model.id}:{seq_id}", digest_content(content)
    try:
        work = plan(model)
        body = await run_in_thread(write_body, work.document)
    except (RefusedCall, UnsupportedCall) as error:
        durable_promise = await model.journal.submit(Promise(request_id, kind, digest, seq_id, error=str(error)), None)
    else:
        promise = Promise(request_id, kind, digest, seq_id, context=work.context)
        durable_promise = await model.journal.submit(promise, body)
    return JSONResponse({"request_id": durable_promise.request_id, "model_id": model.id})
