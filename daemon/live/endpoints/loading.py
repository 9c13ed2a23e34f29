"""The endpoint that loads saved weights: into a new model, or into one that is there."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prefd.daemon.live.bodies import parse_document, read_json_body
from prefd.daemon.live.checkpoints import SCHEME, parse_path
from prefd.daemon.live.client_requests import LoadWeights
from prefd.daemon.live.endpoints.training import respond_promise
from prefd.daemon.live.journal import Promise, digest_content
from prefd.daemon.live.models import Models, read_session
from prefd.daemon.live.refusal import RefusedCall


def list_routes(models: Models) -> Sequence[Route]:
    """List the route."""

    async def load(request: Request) -> Response:
        document, body = await read_json_body(request)
        asked = parse_document(document, LoadWeights)
        asked.optimizer_config.check()
        path = parse_path(asked.path)
        folder = models.find_folder(path.model_id)
        target = path.locate(folder)
        if path.kind != "weights" or not target.is_dir():
            raise RefusedCall(
                404, f"there is no checkpoint {asked.path} to train from; one is called {SCHEME}MODEL/weights/NAME"
            )
        if asked.model_id is not None and asked.seq_id is not None:
            model = await models.find(asked.model_id)
            context = {"type": "load_weights", "path": asked.path, "model_id": model.id}
            promise = Promise(
                f"{model.id}:{asked.seq_id}", "saved", digest_content(body), asked.seq_id, context=context
            )
            work = {
                "kind": "load_state",
                "seq_id": asked.seq_id,
                "path": str(target),
                "with_optimizer": asked.optimizer,
            }
            return await respond_promise(model, promise, work)
        if asked.session_id is None or asked.model_seq_id is None:
            raise RefusedCall(400, "the request needs `session_id` and `model_seq_id`, or `model_id` and `seq_id`")
        origin = read_session(folder, path.model_id)
        if asked.base_model not in (None, origin["base_model"]):
            raise RefusedCall(422, f"{asked.path} is of {origin['base_model']}, not of {asked.base_model}")
        session = models.sessions.find(asked.session_id)
        model_id = f"{session.id}:train:{asked.model_seq_id}"
        promise = await models.open(
            session,
            model_id,
            origin["base_model"],
            content=body,
            lora=origin["lora"],
            from_state=target,
            with_optimizer=asked.optimizer,
            context={"type": "load_weights", "path": asked.path, "model_id": model_id},
        )
        return JSONResponse({"request_id": promise.request_id, "model_id": model_id})

    return [Route("/load_weights", load, methods=["POST"])]
