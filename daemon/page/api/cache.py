"""The endpoints of the reference cache: what is stored of each reference, and which jobs it served."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pydantic import with_config
from starlette.requests import Request
from starlette.responses import Response

from prefd.daemon.control.api.endpoint import Endpoint, Refusal, respond
from prefd.daemon.control.api.responses import DOCUMENTED, Answer
from prefd.daemon.control.api.table_reading import read_table
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.reference_uses import ReferenceUses, UseOfReference
from prefd.daemon.page.reference_listing import ReferenceListing

with_config(DOCUMENTED)(UseOfReference)


class StoredReferenceDocument(Answer):
    """StoredReferenceDocument says what the cache holds of one reference."""

    fingerprint: str
    model: str | None
    """As the first spec that needed it named it."""
    entries: int
    """Completions."""
    tokens: int
    bytes: int
    segments: int
    damaged: list[str]
    """Segments that cannot be read, with the reason; what they held is scored again when a job needs it."""
    identity: dict[str, Any]
    """Who it is: every field changes the numbers."""
    provenance: dict[str, Any]
    """Where it was made, and with what."""
    uses: list[UseOfReference]
    """The jobs that used it, oldest first."""


class CacheContents(Answer):
    """CacheContents says what the cache holds."""

    cache: str
    """Its folder."""
    references: list[StoredReferenceDocument]
    needed: int
    """Completions that all jobs together have needed, those of references that are gone included."""
    cached: int
    """How many of these were in the cache."""


def list_endpoints(home: Home) -> Sequence[Endpoint]:
    """Lists the endpoints that look into the cache; none of them makes one."""
    uses, listing = ReferenceUses(home), ReferenceListing(home)

    async def read(request: Request) -> tuple[list[dict[str, Any]], dict[str, list[UseOfReference]]]:
        jobs = await read_table(home, lambda table: table.briefs())

        def look() -> tuple[list[dict[str, Any]], dict[str, list[UseOfReference]]]:
            listed = uses.list(jobs)
            references = [
                stored | {"uses": [asdict(use) for use in listed.get(stored["fingerprint"], ())]}
                for stored in listing.read()
            ]
            return references, listed

        return await asyncio.to_thread(look)

    async def contents(request: Request) -> Response:
        references, listed = await read(request)
        every = [use for uses in listed.values() for use in uses]
        counts = {"needed": sum(use.needed for use in every), "cached": sum(use.cached for use in every)}
        return respond({"cache": str(home.cache), "references": references, **counts})

    async def reference(request: Request) -> Response:
        prefix: str = request.path_params["fingerprint"].lower()
        references, _ = await read(request)
        matches = [each for each in references if each["fingerprint"].startswith(prefix)]
        if len(matches) != 1:
            number = (
                "no reference's fingerprint begins" if not matches else f"{len(matches)} references' fingerprints begin"
            )
            raise Refusal(404, f"{number} with {prefix[:64]!r}")
        return respond(matches[0])

    return [
        Endpoint(
            "GET", "/v1/cache", "What the reference cache holds, and which jobs it served", contents, CacheContents
        ),
        Endpoint(
            "GET",
            "/v1/cache/{fingerprint}",
            "Who a reference is, and which jobs it served",
            reference,
            StoredReferenceDocument,
            errors={404: "no reference has this fingerprint, or several begin so"},
        ),
    ]
