"""The endpoint that loads saved weights: into a new model, or into one that is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prefd.daemon.live.bodies import parse_document, read_json_body
from prefd.daemon.live.checkpoints import SCHEME, parse_path
from prefd.daemon.live.client_requests import LoadWeights
from prefd.daemon.live.endpoints.ordered import Work, promise_ordered
from prefd.daemon.live.models import ClientModel, Models, read_session
from prefd.daemon.live.refusal import RefusedCall
from prefd.daemon.runs.live_folder import LiveFolder


def list_routes(models: Models) -> Sequence[Route]:
    """List the route."""

    async def load(request: Request) -> Response:
        document, body = await read_json_body(request)
        call = parse_document(document, LoadWeights)
        if call.model_id is not None and call.seq_id is not None:
            return await promise_ordered(
                models, call.model_id, call.seq_id, "saved", body, lambda model: plan_loading(model, call)
            )
        call.optimizer_config.check()
        folder, target = find_state(call.path)
        if call.session_id is None or call.model_seq_id is None:
            raise RefusedCall(400, "the request needs `session_id` and `model_seq_id`, or `model_id` and `seq_id`")
        origin = read_session(folder, parse_path(call.path).model_id)
        if call.base_model not in (None, origin["base_model"]):
            raise RefusedCall(422, f"{call.path} is of {origin['base_model']}, not of {call.base_model}")
        session = models.sessions.find(call.session_id)
        model_id = f"{session.id}:train:{call.model_seq_id}"
        promise = await models.open(
            session,
            model_id,
            origin["base_model"],
            content=body,
            lora=origin["lora"],
            from_state=target,
            with_optimizer=call.optimizer,
            user_metadata=call.user_metadata,
            context={"type": "load_weights", "path": call.path, "model_id": model_id},
        )
        return JSONResponse({"request_id": promise.request_id, "model_id": model_id})

    def find_state(text: str) -> tuple[LiveFolder, Path]:
        path = parse_path(text)
        folder = models.find_folder(path.model_id)
        target = path.locate(folder)
        if path.kind != "weights" or not target.is_dir():
            raise RefusedCall(
                404, f"there is no checkpoint {text} to train from; one is called {SCHEME}MODEL/weights/NAME"
            )
        return folder, target

    def plan_loading(model: ClientModel, call: LoadWeights) -> Work:
        folder, target = find_state(call.path)
        own, other = model.read_session(), read_session(folder, parse_path(call.path).model_id)
        if own["model"] != other["model"]:
            raise RefusedCall(422, f"{call.path} is of {other['base_model']}, not of {own['base_model']}")
        context = {"type": "load_weights", "path": call.path, "model_id": model.id}
        work = {"kind": "load_state", "seq_id": call.seq_id, "path": str(target), "with_optimizer": call.optimizer}
        return Work(work, context)

    return [Route("/load_weights", load, methods=["POST"])]
