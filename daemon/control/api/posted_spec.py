"""PostedSpec is a spec file as it is posted: its bytes, and a name whose suffix says how they are read."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field
from starlette.requests import Request

from prefd.daemon.control.api.endpoint import Query, Refusal, read_bytes

MAX_NAME = 200
SUFFIXES = {"application/json": ".json", "application/yaml": ".yaml", "application/toml": ".toml"}
MEDIA = tuple(SUFFIXES)
"""The types of body that are taken."""


class PostedSpecQuery(Query):
    """PostedSpecQuery holds the parameters of a spec that is posted."""

    name: str = Field("posted", min_length=1, max_length=MAX_NAME)
    """The spec file's name; the job's, where the spec gives none."""


@dataclass(frozen=True)
class PostedSpec:
    """PostedSpec is what a request brings."""

    data: bytes
    name: str

    @classmethod
    async def read(cls, request: Request, query: PostedSpecQuery, limit: int) -> PostedSpec:
        """Reads the spec that is posted. Raises Refusal for one of an unknown type (415), with a bad name (422), or too large (413)."""
        media = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if media not in SUFFIXES:
            raise Refusal(415, f"a spec is posted as {', '.join(SUFFIXES)}, not as {media[:100]!r}")
        if not query.name.isprintable() or "/" in query.name:
            raise Refusal(422, f"name: must be a file's name without a folder, got {query.name!r}")
        return cls(await read_bytes(request, limit), query.name + SUFFIXES[media])
