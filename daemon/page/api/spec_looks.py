"""What may be asked of a spec that is posted while it is written: what its job would need, its rows and pairs, and which to doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pydantic import Field
from starlette.requests import Request

from prefd.daemon.control.api.endpoint import Refusal, read_query
from prefd.daemon.control.api.posted_spec import PostedSpec, PostedSpecQuery
from prefd.daemon.home.layout import Home
from prefd.daemon.page.api.look import Look
from prefd.daemon.specs.catalog_listing import load_catalog
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.reading import read_specs
from prefd.daemon.text.parsed import MAX_BYTES
from prefd.daemon.worker_tasks.inputs import LookQuestion, PreviewInput
from prefd.daemon.worker_tasks.looks import MOST_ROWS, JobNeeds, NeedsQuestion, RowsPage, RowsQuestion, Shown
from prefd.daemon.worker_tasks.previews import Preview
from prefd.daemon.worker_tasks.xrays import FindingKind, XRay, XRayInput

OF_A_SPEC = {
    413: "the spec is too large",
    415: "the spec is of an unknown type",
    422: "the spec cannot be a job, or its data cannot be read: `lines` says why",
}


class SpecQuery(PostedSpecQuery):
    """SpecQuery holds the parameters of a spec that is posted to be looked at."""

    job: int = Field(1, ge=1)
    """Of a sweep, the job to look at."""


class RowsQuery(SpecQuery):
    """RowsQuery holds the parameters of a page of rows."""

    show: Shown = "all"
    """Which rows: all, those with a pair, those that are cut at max_length, those without a pair, or those held out."""
    offset: int = Field(0, ge=0)
    """How many of them to pass over."""
    limit: int = Field(20, ge=0, le=MOST_ROWS)
    """How many of them to show."""


class PreviewQuery(SpecQuery):
    """PreviewQuery says which pairs to show token by token."""

    count: int = Field(3, ge=0, le=MOST_ROWS)
    """How many pairs."""
    row: list[str] = Field([])
    """The pairs of these rows instead: given several times, by number or place."""
    worst: bool = False
    """The most doubtful first."""


class XRayQuery(SpecQuery):
    """XRayQuery says which of the pairs to doubt are listed."""

    only: list[FindingKind] = Field([])
    """Only pairs of this kind; given several times, of these kinds."""
    limit: int = Field(10, ge=1, le=MOST_ROWS)
    """How many of each kind."""


async def _ask_needs(home: Home, request: Request) -> LookQuestion:
    return NeedsQuestion(spec=await _read_posted(home, request, read_query(request, SpecQuery)))


async def _ask_rows(home: Home, request: Request) -> LookQuestion:
    query = read_query(request, RowsQuery)
    spec = await _read_posted(home, request, query)
    return RowsQuestion(spec=spec, show=query.show, offset=query.offset, limit=query.limit)


async def _ask_pairs(home: Home, request: Request) -> LookQuestion:
    query = read_query(request, PreviewQuery)
    spec = await _read_posted(home, request, query)
    return PreviewInput(spec=spec, count=query.count, named=query.row, worst=query.worst)


async def _ask_doubts(home: Home, request: Request) -> LookQuestion:
    query = read_query(request, XRayQuery)
    return XRayInput(spec=await _read_posted(home, request, query), only=query.only, limit=query.limit)


async def _read_posted(home: Home, request: Request, query: SpecQuery) -> JobSpec:
    """Reads the spec that is posted, as a file in `jobs/` is read. Raises Refusal, SpecError, CatalogError."""
    spec = await PostedSpec.read(request, query, MAX_BYTES)
    catalog = await asyncio.to_thread(load_catalog, home)
    file = await asyncio.to_thread(read_specs, spec.data, spec.name, catalog, home.jobs)
    if query.job > len(file.specs):
        raise Refusal(422, f"job: there is no job {query.job} of {len(file.specs)}")
    return file.specs[query.job - 1]


SPEC_LOOKS: Sequence[Look] = (
    Look(
        "POST",
        "/v1/explain",
        "What a spec's job would need: cache, time, memory",
        SpecQuery,
        _ask_needs,
        JobNeeds,
        OF_A_SPEC,
    ),
    Look("POST", "/v1/preview", "A spec's rows as they would be trained on", RowsQuery, _ask_rows, RowsPage, OF_A_SPEC),
    Look(
        "POST",
        "/v1/preview/pairs",
        "Some of a spec's pairs token by token, as `prefd preview` shows them",
        PreviewQuery,
        _ask_pairs,
        Preview,
        OF_A_SPEC,
    ),
    Look("POST", "/v1/xray", "Which of a spec's pairs to doubt", XRayQuery, _ask_doubts, XRay, OF_A_SPEC),
)
