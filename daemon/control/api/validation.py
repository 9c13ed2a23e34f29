"""The endpoint that checks a spec and queues nothing: every fault with its line and column, or the jobs that it would become."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from prefd.daemon.control.api.endpoint import Controlled, Endpoint, read_query, respond
from prefd.daemon.control.api.posted_spec import MEDIA, PostedSpec, PostedSpecQuery
from prefd.daemon.control.api.responses import Answer
from prefd.daemon.specs.reading import read_specs
from prefd.daemon.specs.spec_error import SpecError


class SpecFault(Answer):
    """SpecFault is one thing that is wrong with a spec."""

    line: int | None
    """From 1; null where the fault is at no one line."""
    column: int | None
    """From 1."""
    path: str | None
    """The setting, as `training.lora.rank`; null where it is no one setting that is wrong."""
    message: str
    """What is wrong, and what to do."""


class Validation(Answer):
    """Validation says what a spec would become, or everything that is wrong with it."""

    ok: bool
    faults: list[SpecFault]
    notes: list[str]
    """What its writer should know and need not change."""
    jobs: list[dict[str, Any]]
    """The specs of the jobs that it would become, with all defaults; none where it has a fault."""
    settings: list[str]
    """Of each job, what the sweep sets in it, in words; empty where it is no sweep."""
    needs_reference: list[bool]
    """Of each job, whether its loss compares with the reference."""


def list_endpoints(daemon: Controlled) -> Sequence[Endpoint]:
    """Lists the endpoint that checks a spec."""

    async def validate(request: Request) -> Response:
        posted_spec = await PostedSpec.read(request, read_query(request, PostedSpecQuery), daemon.max_spec_bytes)
        catalog = await daemon.catalog()
        try:
            file = await asyncio.to_thread(read_specs, posted_spec.data, posted_spec.name, catalog, daemon.home.jobs)
        except SpecError as error:
            faults = [SpecFault.model_validate(fault.to_json()) for fault in error.faults]
            nothing = Validation(ok=False, faults=faults, notes=[], jobs=[], settings=[], needs_reference=[])
            return respond(nothing.model_dump())
        return respond(
            {
                "ok": True,
                "faults": [],
                "notes": list(file.notes),
                "jobs": [spec.model_dump(mode="json") for spec in file.specs],
                "settings": list(file.settings),
                "needs_reference": [catalog.need_reference(spec.loss_names) for spec in file.specs],
            }
        )

    return [
        Endpoint(
            "POST",
            "/v1/validate",
            "Check a spec as one that is handed in, and queue nothing",
            validate,
            Validation,
            query=PostedSpecQuery,
            body=MEDIA,
            errors={413: "it is too large", 415: "of an unknown type", 503: "the losses cannot be listed"},
            of_daemon=False,
        )
    ]
