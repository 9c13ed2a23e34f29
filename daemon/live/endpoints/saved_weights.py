"""The endpoints that tell what weights were saved, and delete them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prefd.daemon.live.bodies import parse_document, read_json_body
from prefd.daemon.live.checkpoints import (
    SCHEME,
    CheckpointPath,
    delete_checkpoint,
    list_checkpoints,
    parse_path,
    set_end,
)
from prefd.daemon.live.client_requests import CheckpointEnd, WeightsInfo
from prefd.daemon.live.endpoints.listing import respond_page
from prefd.daemon.live.models import Models, read_session
from prefd.daemon.live.refusal import RefusedCall
from prefd.daemon.machine.threads import run_in_thread


def list_routes(models: Models) -> Sequence[Route]:
    """List the routes."""

    async def describe_weights(request: Request) -> Response:
        document, _ = await read_json_body(request)
        path = parse_path(parse_document(document, WeightsInfo).tinker_path)
        folder = models.find_folder(path.model_id)
        if not path.locate(folder).is_dir():
            raise RefusedCall(404, f"there is no checkpoint {path}")
        session = read_session(folder, path.model_id)
        lora = session["lora"] or {}
        names = ("train_unembed", "train_mlp", "train_attn")
        described = {"base_model": session["base_model"], "is_lora": bool(lora), "lora_rank": lora.get("rank")}
        return JSONResponse(described | {name: lora.get(name) for name in names})

    async def list_all_saved(request: Request) -> Response:
        def describe() -> list[dict[str, Any]]:
            folders = models.list_folders()
            saved = [each for model_id, folder in folders for each in list_checkpoints(folder, model_id)]
            return sorted(saved, key=lambda each: str(each["time"]), reverse=True)

        return respond_page(request, "checkpoints", await run_in_thread(describe))

    async def list_saved(request: Request) -> Response:
        model_id = request.path_params["model_id"]
        saved = await run_in_thread(list_checkpoints, models.find_folder(model_id), model_id)
        return JSONResponse({"checkpoints": saved})

    def read_path(request: Request) -> CheckpointPath:
        parameters = request.path_params
        return parse_path(f"{SCHEME}{parameters['model_id']}/{parameters['kind']}/{parameters['name']}")

    async def keep_until(request: Request) -> Response:
        document, _ = await read_json_body(request)
        call, path = parse_document(document, CheckpointEnd), read_path(request)
        await run_in_thread(set_end, models.find_folder(path.model_id), path, call.ttl_seconds)
        return JSONResponse({})

    async def delete(request: Request) -> Response:
        path = read_path(request)
        await run_in_thread(delete_checkpoint, models.find_folder(path.model_id), path)
        return JSONResponse({})

    saved = "/training_runs/{model_id}/checkpoints"
    return [
        Route("/weights_info", describe_weights, methods=["POST"]),
        Route("/checkpoints", list_all_saved),
        Route(saved, list_saved),
        Route(saved + "/{kind}/{name}", delete, methods=["DELETE"]),
        Route(saved + "/{kind}/{name}/ttl", keep_until, methods=["PUT"]),
    ]
