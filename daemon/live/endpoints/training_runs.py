"""The endpoints that tell of the models that clients train or have trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prefd.daemon.live.checkpoints import format_time, list_checkpoints
from prefd.daemon.live.endpoints.listing import respond_page
from prefd.daemon.live.models import Models, read_session
from prefd.daemon.machine.threads import run_in_thread
from prefd.daemon.runs.live_folder import LiveFolder


def list_routes(models: Models) -> Sequence[Route]:
    """List the routes."""

    async def tell_run(request: Request) -> Response:
        model_id = request.path_params["model_id"]
        return JSONResponse(await run_in_thread(describe_run, models.find_folder(model_id), model_id))

    async def list_runs(request: Request) -> Response:
        def describe() -> list[dict[str, Any]]:
            runs = [describe_run(folder, model_id) for model_id, folder in models.list_folders()]
            return sorted(runs, key=lambda run: str(run["last_request_time"]), reverse=True)

        return respond_page(request, "training_runs", await run_in_thread(describe))

    return [Route("/training_runs", list_runs), Route("/training_runs/{model_id}", tell_run)]


def describe_run(folder: LiveFolder, model_id: str) -> dict[str, Any]:
    """Return what a client is told of a model, also of one whose session has ended. Raises RefusedCall (404), OSError."""
    session, saved = read_session(folder, model_id), list_checkpoints(folder, model_id)
    lora = session["lora"]
    last_used = folder.requests if folder.requests.exists() else folder.session  # the requests go with the session
    return {
        "training_run_id": model_id,
        "base_model": session["base_model"],
        "model_owner": "local",
        "is_lora": lora is not None,
        "lora_rank": lora["rank"] if lora else None,
        "last_request_time": format_time(last_used.stat().st_mtime),
        "last_checkpoint": find_last(saved, "training"),
        "last_sampler_checkpoint": find_last(saved, "sampler"),
        "user_metadata": session.get("user_metadata") or None,
    }


def find_last(saved: Sequence[dict[str, Any]], kind: str) -> dict[str, Any] | None:
    """Return the newest checkpoint of a kind, of those that are listed by age."""
    return next((each for each in reversed(saved) if each["checkpoint_type"] == kind), None)
