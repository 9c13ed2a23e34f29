"""The endpoints that tell what weights were saved, and delete them."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prefd.daemon.live.bodies import parse_document, read_json_body
from prefd.daemon.live.checkpoints import SCHEME, delete_checkpoint, format_time, list_checkpoints, parse_path
from prefd.daemon.live.client_requests import WeightsInfo
from prefd.daemon.live.models import Models, read_session
from prefd.daemon.machine.threads import run_in_thread


def list_routes(models: Models) -> Sequence[Route]:
    """List the routes."""

    async def describe_weights(request: Request) -> Response:
        document, _ = await read_json_body(request)
        path = parse_path(parse_document(document, WeightsInfo).tinker_path)
        session = read_session(models.find_folder(path.model_id), path.model_id)
        lora = session["lora"] or {}
        names = ("train_unembed", "train_mlp", "train_attn")
        described = {"base_model": session["base_model"], "is_lora": bool(lora), "lora_rank": lora.get("rank")}
        return JSONResponse(described | {name: lora.get(name) for name in names})

    async def describe_run(request: Request) -> Response:
        model_id = request.path_params["model_id"]
        folder = models.find_folder(model_id)
        session = read_session(folder, model_id)
        lora = session["lora"]
        return JSONResponse(
            {
                "training_run_id": model_id,
                "base_model": session["base_model"],
                "model_owner": "local",
                "is_lora": lora is not None,
                "lora_rank": lora["rank"] if lora else None,
                "last_request_time": format_time(folder.requests.stat().st_mtime),
            }
        )

    async def list_saved(request: Request) -> Response:
        model_id = request.path_params["model_id"]
        saved = await run_in_thread(list_checkpoints, models.find_folder(model_id), model_id)
        return JSONResponse({"checkpoints": saved})

    async def delete(request: Request) -> Response:
        parameters = request.path_params
        path = parse_path(f"{SCHEME}{parameters['model_id']}/{parameters['kind']}/{parameters['name']}")
        await run_in_thread(delete_checkpoint, models.find_folder(path.model_id), path)
        return JSONResponse({})

    saved = "/training_runs/{model_id}/checkpoints"
    return [
        Route("/weights_info", describe_weights, methods=["POST"]),
        Route("/training_runs/{model_id}", describe_run),
        Route(saved, list_saved),
        Route(saved + "/{kind}/{name}", delete, methods=["DELETE"]),
    ]
