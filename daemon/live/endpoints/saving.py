"""The endpoints that save a model's weights: its state to go on from, and its adapter to sample with."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from prefd.daemon.live.bodies import parse_document, read_json_body
from prefd.daemon.live.checkpoints import CheckpointPath, check_name, note_checkpoint
from prefd.daemon.live.client_requests import OrderedRequest, SaveForSampler, SaveWeights
from prefd.daemon.live.endpoints.ordered import Work, promise_ordered
from prefd.daemon.live.models import ClientModel, Models
from prefd.daemon.live.refusal import RefusedCall
from prefd.daemon.live.sessions import MAX_SAMPLERS, OpenSampler, check_room
from prefd.daemon.runs.live_folder import SNAPSHOT


def list_routes(models: Models) -> Sequence[Route]:
    """List the routes."""

    async def save_state(request: Request) -> Response:
        document, body = await read_json_body(request)
        place = parse_document(document, OrderedRequest)

        def plan(model: ClientModel) -> Work:
            call = parse_document(document, SaveWeights)
            path = CheckpointPath(model.id, "weights", name_checkpoint(call.path, f"state-{call.seq_id}"))
            return plan_saving(model, path, call, {"type": "save_weights", "path": str(path)})

        return await promise_ordered(models, place.model_id, place.seq_id, "saved", body, plan)

    async def save_for_sampler(request: Request) -> Response:
        document, body = await read_json_body(request)
        place = parse_document(document, OrderedRequest)

        def plan(model: ClientModel) -> Work:
            call = parse_document(document, SaveForSampler)
            path = CheckpointPath(model.id, "sampler_weights", name_checkpoint(call.path, f"{SNAPSHOT}{call.seq_id}"))
            context = {"type": "save_weights_for_sampler", "path": str(path)}
            if call.path is None:
                context = {"type": context["type"], "sampling_session_id": open_snapshot(model, path, call)}
            return plan_saving(model, path, call, context)

        return await promise_ordered(models, place.model_id, place.seq_id, "saved", body, plan)

    def open_snapshot(model: ClientModel, path: CheckpointPath, call: SaveForSampler) -> str:
        session = models.sessions.find_of_model(model.id)
        number = call.sampling_session_seq_id
        if number is None:
            raise RefusedCall(400, "the request needs `path`, or `sampling_session_seq_id` for a sampler of its own")
        sampler_id = f"{session.id}:sample:{number}"
        sampler = OpenSampler(
            model.id, str(model.read_session()["base_model"]), str(path), str(path.locate(model.folder))
        )
        if (open_sampler := session.samplers.get(sampler_id)) is None:
            check_room(session.samplers, MAX_SAMPLERS, "samplers")
            session.samplers[sampler_id] = sampler
            models.sessions.keep(session)
        elif open_sampler != sampler:
            raise RefusedCall(
                422, f"sampling session {sampler_id} was made before of other weights: each needs its own number"
            )
        return sampler_id

    return [
        Route("/save_weights", save_state, methods=["POST"]),
        Route("/save_weights_for_sampler", save_for_sampler, methods=["POST"]),
    ]


def name_checkpoint(name: str | None, own: str) -> str:
    """Return the name that a client gives, or `own` where it gives none. Raises RefusedCall (400) for one that is none."""
    return own if name is None else check_name(name)


def plan_saving(model: ClientModel, path: CheckpointPath, call: SaveWeights, context: dict[str, str]) -> Work:
    """Return what saves a model under a name, and note when that ends. Raises OSError."""
    kind = "save_state" if path.kind == "weights" else "save_sampler"
    if call.ttl_seconds is not None or call.user_metadata:
        note_checkpoint(model.folder, path, call.ttl_seconds, call.user_metadata)
    return Work({"kind": kind, "seq_id": call.seq_id, "name": path.name, "overwrite": call.overwrite}, context)
