"""`GET /v1/openapi.json`: the API as an OpenAPI 3.1 document, made from the endpoints themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from typing import Any

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from prefd.daemon.control.api import responses
from prefd.daemon.control.api.endpoint import Endpoint, Query, answer

REF = "#/components/schemas/{model}"
DESCRIPTION = """HTTP over the Unix socket `<home>/run/prefd.sock`, for the user that the daemon runs as.

Fields may be added under /v1; none is taken away or changes its meaning. Every error is an Error."""
EVENTS = (responses.JobEvent, responses.MetricsEvent, responses.ProgressEvent, responses.ResetEvent)
ALWAYS = {400: "not a request", 422: "a parameter is wrong", 500: "a fault of the daemon's"}
JOB_ID = {
    "name": "job_id",
    "in": "path",
    "required": True,
    "description": "The job's number.",
    "schema": {"type": "integer", "minimum": 0},
}


def endpoint(others: Sequence[Endpoint]) -> Endpoint:
    """The one that describes `others` and itself."""

    @cache
    def made() -> dict[str, Any]:
        return document([*others, described])

    async def openapi(request: Request) -> Response:
        return answer(made())

    described = Endpoint("GET", "/v1/openapi.json", "This document", openapi, dict[str, Any])
    return described


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The OpenAPI document of `endpoints`."""
    kinds = [each.answer for each in endpoints if each.media == "application/json"]
    schemas, components = _schemas([*kinds, *EVENTS, responses.Error])
    paths: dict[str, dict[str, Any]] = {}
    for each in endpoints:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "prefd", "version": metadata.version("prefd"), "description": DESCRIPTION},
        "servers": [{"url": "http://prefd", "description": "any host name: the socket is what counts"}],
        "paths": paths,
        "components": {"schemas": components},
    }


def _schemas(kinds: Sequence[Any]) -> tuple[dict[Any, dict[str, Any]], dict[str, Any]]:
    """The schema of each type, and the components that they refer to."""
    distinct = {kind: TypeAdapter(kind) for kind in kinds}
    made, rest = TypeAdapter.json_schemas(
        [(kind, "serialization", adapter) for kind, adapter in distinct.items()], ref_template=REF
    )
    return {kind: schema for (kind, _), schema in made.items()}, rest.get("$defs", {})


def _operation(each: Endpoint, schemas: Mapping[Any, Mapping[str, Any]]) -> dict[str, Any]:
    error = {"application/json": {"schema": schemas[responses.Error]}}
    is_json = each.media == "application/json"
    operation: dict[str, Any] = {
        "operationId": _name(each),
        "summary": each.summary,
        "responses": {
            str(each.status): {
                "description": each.summary if is_json else each.answer,
                "content": {each.media: {"schema": schemas[each.answer] if is_json else {"type": "string"}}},
            },
            **{
                str(status): {"description": why, "content": error}
                for status, why in sorted((ALWAYS | dict(each.errors)).items())
            },
        },
    }
    if parameters := [*([JOB_ID] if "{job_id}" in each.path else []), *_parameters(each.query)]:
        operation["parameters"] = parameters
    if each.body:
        text = {"schema": {"type": "string", "description": "A spec, or a sweep, as a file holds it."}}
        content = {media: {"schema": {"type": "object"}} if media.endswith("json") else text for media in each.body}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameters(query: type[Query] | None) -> list[dict[str, Any]]:
    if query is None:
        return []
    schema = query.model_json_schema()
    return [
        {"name": name, "in": "query", "required": False, "description": each.pop("description", ""), "schema": each}
        for name, each in schema["properties"].items()
    ]


def _name(each: Endpoint) -> str:
    """`postJobsCancel` of `POST /v1/jobs/{job_id}/cancel`."""
    words = re.findall(r"[a-z]+", re.sub(r"\{.*?\}|\.json|^/v1/", " ", each.path.replace("{job_id}", "job")))
    return each.method.lower() + "".join(word.capitalize() for word in words)
