"""The endpoints of losses and plugins, and of the schema of a spec: what a form is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pydantic import with_config
from starlette.requests import Request
from starlette.responses import Response

from prefd.daemon.control.api.endpoint import Controlled, Endpoint, Refusal, respond
from prefd.daemon.control.api.responses import DOCUMENTED, Answer
from prefd.daemon.specs.catalog import LossInfo, PluginInfo
from prefd.daemon.text.unknown_losses import explain_unknown_loss

for _kind in (LossInfo, PluginInfo):
    with_config(DOCUMENTED)(_kind)


class LossList(Answer):
    """LossList holds every loss that a spec can name."""

    losses: dict[str, LossInfo]


class PluginList(Answer):
    """PluginList holds every plugin, those that could not be loaded included."""

    plugins: list[PluginInfo]


def list_endpoints(daemon: Controlled) -> Sequence[Endpoint]:
    """Lists the endpoints that answer from the catalogue of losses and plugins."""

    async def schema(request: Request) -> Response:
        from prefd.daemon.specs.json_schema import build_schema

        return respond(build_schema(await daemon.catalog()))

    async def losses(request: Request) -> Response:
        catalog = await daemon.catalog()
        return respond({"losses": {name: asdict(loss) for name, loss in catalog.losses.items()}})

    async def loss(request: Request) -> Response:
        catalog, name = await daemon.catalog(), request.path_params["name"]
        if name not in catalog.losses:
            raise Refusal(404, *explain_unknown_loss(name, catalog.losses, catalog.failures))
        return respond(asdict(catalog.losses[name]))

    async def plugins(request: Request) -> Response:
        return respond({"plugins": [asdict(plugin) for plugin in (await daemon.catalog()).plugins]})

    no_losses = {503: "the losses cannot be listed"}
    return [
        Endpoint("GET", "/v1/schema", "The JSON Schema of a spec", schema, dict[str, Any], errors=no_losses),
        Endpoint("GET", "/v1/losses", "The losses that a spec can name", losses, LossList, errors=no_losses),
        Endpoint(
            "GET",
            "/v1/losses/{name}",
            "One loss, with its parameters",
            loss,
            LossInfo,
            errors=no_losses | {404: "there is no such loss"},
        ),
        Endpoint(
            "GET", "/v1/plugins", "The plugins, and why one could not be loaded", plugins, PluginList, errors=no_losses
        ),
    ]
