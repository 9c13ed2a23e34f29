"""Serves `GET /v1/openapi.json`: the API as an OpenAPI 3.1 document, made from the endpoints themselves."""

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
from prefd.daemon.control.api.endpoint import Endpoint, Query, respond
from prefd.daemon.jobs.event_kinds import KINDS

REF = "#/components/schemas/{model}"
DESCRIPTION = """HTTP over the Unix socket `<home>/run/prefd.sock`, for the user that the daemon runs as.

Fields may be added under /v1; none is taken away or changes its meaning. Every error is an Error."""
ALWAYS = {400: "not a request", 422: "a parameter is wrong", 500: "a fault of the daemon's"}
PAGE = {"url": "/", "description": "`prefd web` alone, at its own address: not the control socket"}
PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "job_id": {"description": "The job's number.", "schema": {"type": "integer", "minimum": 0}},
    "name": {"description": "The loss's name.", "schema": {"type": "string"}},
    "fingerprint": {
        "description": "The reference's fingerprint, or the first digits of it.",
        "schema": {"type": "string"},
    },
}
"""What stands in paths."""


def describe_endpoints(endpoints: Sequence[Endpoint]) -> Endpoint:
    """Makes the endpoint that describes `endpoints` and itself."""

    @cache
    def build() -> dict[str, Any]:
        return build_document([*endpoints, description_endpoint])

    async def openapi(request: Request) -> Response:
        return respond(build())

    description_endpoint = Endpoint("GET", "/v1/openapi.json", "This document", openapi, dict[str, Any])
    return description_endpoint


def build_document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Builds the OpenAPI document of `endpoints`."""
    kinds = [each.answer for each in endpoints if each.media == "application/json"]
    bodies = [each.request for each in endpoints if each.request is not None]
    schemas, components = _build_schemas([*kinds, *bodies, *KINDS.values(), responses.Error])
    paths: dict[str, dict[str, Any]] = {}
    for each in endpoints:
        paths.setdefault(each.path, {})[each.method.lower()] = _describe_operation(each, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "prefd", "version": metadata.version("prefd"), "description": DESCRIPTION},
        "servers": [{"url": "http://prefd", "description": "any host name: the socket is what counts"}],
        "paths": paths,
        "components": {"schemas": components},
    }


def _build_schemas(kinds: Sequence[Any]) -> tuple[dict[Any, dict[str, Any]], dict[str, Any]]:
    """Builds the schema of each type, and the components that they refer to."""
    distinct = {kind: TypeAdapter(kind) for kind in kinds}
    schemas, definitions = TypeAdapter.json_schemas(
        [(kind, "serialization", adapter) for kind, adapter in distinct.items()], ref_template=REF
    )
    return {kind: schema for (kind, _), schema in schemas.items()}, definitions.get("$defs", {})


def _describe_operation(endpoint: Endpoint, schemas: Mapping[Any, Mapping[str, Any]]) -> dict[str, Any]:
    error = {"application/json": {"schema": schemas[responses.Error]}}
    is_json = endpoint.media == "application/json"
    operation: dict[str, Any] = {
        "operationId": _name_operation(endpoint),
        "summary": endpoint.summary,
        "responses": {
            str(endpoint.status): {
                "description": endpoint.summary if is_json else endpoint.answer,
                "content": {endpoint.media: {"schema": schemas[endpoint.answer] if is_json else {"type": "string"}}},
            },
            **{
                str(status): {"description": reason, "content": error}
                for status, reason in sorted((ALWAYS | dict(endpoint.errors)).items())
            },
        },
    }
    if endpoint.of_page:
        operation["servers"] = [PAGE]
    if parameters := [*_describe_path(endpoint.path), *_describe_parameters(endpoint.query)]:
        operation["parameters"] = parameters
    if endpoint.request is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas[endpoint.request]}},
        }
    if endpoint.body:
        text = {"schema": {"type": "string", "description": "A spec, or a sweep, as a file holds it."}}
        content = {media: {"schema": {"type": "object"}} if media.endswith("json") else text for media in endpoint.body}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _describe_path(path: str) -> list[dict[str, Any]]:
    """Describes the parts of a path that stand for something: a job's number, or a name."""
    return [
        {"name": name, "in": "path", "required": True, **PARAMETERS[name]} for name in re.findall(r"\{(\w+)\}", path)
    ]


def _describe_parameters(query: type[Query] | None) -> list[dict[str, Any]]:
    if query is None:
        return []
    schema = query.model_json_schema()
    required = schema.get("required", ())
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": each.pop("description", ""),
            "schema": each,
        }
        for name, each in schema["properties"].items()
    ]


def _name_operation(endpoint: Endpoint) -> str:
    """Names an operation: `postJobsCancel` for `POST /v1/jobs/{job_id}/cancel`."""
    words = re.findall(r"[a-z]+", re.sub(r"_id\}|\.json|^/v1/", " ", endpoint.path))
    return endpoint.method.lower() + "".join(word.capitalize() for word in words)
