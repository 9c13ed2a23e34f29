"""The endpoints that look at a spec while it is written, at a loss's curve, and at the scored pairs of a finished job.

A look child of this process answers them (worker_tasks/look_child.py). A newer question of a kind ends the one before it, which is
answered 409: whoever types asks again and again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from prefd.daemon.control.api.endpoint import Endpoint, Query, Refusal, read_job_id, read_query, respond
from prefd.daemon.control.api.lists import JobNumbers
from prefd.daemon.control.api.posted_spec import MEDIA, PostedSpec, PostedSpecQuery
from prefd.daemon.control.api.table_reading import read_table
from prefd.daemon.home.layout import Home
from prefd.daemon.runs.pair_answers import PairsOrder, PairsPage, PairsPart
from prefd.daemon.runs.pair_comparison import PairComparison
from prefd.daemon.specs.catalog_listing import load_catalog
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.reading import read_specs
from prefd.daemon.text.document_model import DocumentModel
from prefd.daemon.text.parsed import MAX_BYTES
from prefd.daemon.worker_tasks.look_child import LookChild
from prefd.daemon.worker_tasks.looks import (
    MOST_POINTS,
    MOST_ROWS,
    CurveQuestion,
    JobNeeds,
    LookQuestion,
    LossCurve,
    NeedsQuestion,
    PairComparisonQuestion,
    PairsQuestion,
    RowsPage,
    RowsQuestion,
    Shown,
)

REFUSALS = {
    409: "a newer question of the same kind took its place",
    503: "the worker that looks at it ended, and why; the next question starts another",
}
"""What every look may be refused for."""
OF_A_SPEC = {
    413: "the spec is too large",
    415: "the spec is of an unknown type",
    422: "the spec cannot be a job, or its data cannot be read: `lines` says why",
}


class SpecQuery(PostedSpecQuery):
    """SpecQuery holds the parameters of a spec that is posted to be looked at."""

    job: int = Field(1, ge=1)
    """Of a sweep, the job to look at."""


class PreviewQuery(SpecQuery):
    """PreviewQuery holds the parameters of a page of rows."""

    show: Shown = "all"
    """Which rows: all, those with a pair, those that are cut at max_length, those without a pair, or those held out."""
    offset: int = Field(0, ge=0)
    """How many of them to pass over."""
    limit: int = Field(20, ge=0, le=MOST_ROWS)
    """How many of them to show."""


class CurveQuery(Query):
    """CurveQuery holds the range of a curve; every other parameter is one of the loss's own: `beta=0.3`."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    low: float = Field(-10.0, alias="from", allow_inf_nan=False)
    """The first z."""
    high: float = Field(10.0, alias="to", allow_inf_nan=False)
    """The last z."""
    points: int = Field(121, ge=2, le=MOST_POINTS)
    """How many z, evenly spaced."""


class PairComparisonQuery(Query):
    """PairComparisonQuery holds the parameters of a comparison pair by pair."""

    ids: JobNumbers = Field(min_length=2, max_length=2)
    """The two jobs: given twice, or once with a comma."""


class PairsQuery(Query):
    """PairsQuery holds the parameters of a page of a job's scored pairs."""

    order: PairsOrder = "margin"
    """The smallest margin first, the largest (`best`), the largest loss, or as in the data (`row`)."""
    only: list[PairsPart] = Field([])
    """Only pairs that are `wrong`, `held_out` or of `train`; given several times, those that are all of it."""
    offset: int = Field(0, ge=0)
    """How many of them to pass over."""
    limit: int = Field(20, ge=0, le=MOST_ROWS)
    """How many of them to show."""


@dataclass(frozen=True)
class Look:
    """Look is one endpoint: the question that is made of a request, and what the child answers to it."""

    method: Literal["GET", "POST"]
    path: str
    summary: str
    query: type[Query]
    make_question: Callable[[Home, Request], Awaitable[LookQuestion]]
    answer: type[DocumentModel]
    errors: Mapping[int, str]
    """Status → when it is refused so, beside what every look is refused for."""

    def make_endpoint(self, home: Home, child: LookChild) -> Endpoint:
        """Makes the endpoint that `child` answers."""

        async def answer(request: Request) -> Response:
            question = await self.make_question(home, request)
            return respond((await child.ask(question, self.answer)).to_json())

        return Endpoint(
            self.method,
            self.path,
            self.summary,
            answer,
            self.answer,
            query=self.query,
            body=MEDIA if self.method == "POST" else (),
            errors={**REFUSALS, **self.errors},
            of_daemon=False,
        )


def list_endpoints(home: Home, child: LookChild) -> Sequence[Endpoint]:
    """Lists the endpoints that `child` answers."""
    return [look.make_endpoint(home, child) for look in LOOKS]


async def _ask_needs(home: Home, request: Request) -> LookQuestion:
    return NeedsQuestion(spec=await _read_posted(home, request, read_query(request, SpecQuery)))


async def _ask_rows(home: Home, request: Request) -> LookQuestion:
    query = read_query(request, PreviewQuery)
    spec = await _read_posted(home, request, query)
    return RowsQuestion(spec=spec, show=query.show, offset=query.offset, limit=query.limit)


async def _ask_curve(home: Home, request: Request) -> LookQuestion:
    query, name = read_query(request, CurveQuery), request.path_params["name"]
    params = query.model_extra or {}
    return CurveQuestion(name=name, params=params, low=query.low, high=query.high, points=query.points)


async def _ask_pairs(home: Home, request: Request) -> LookQuestion:
    query, job_id = read_query(request, PairsQuery), read_job_id(request)
    job = await read_table(home, lambda table: table.get(job_id))
    return PairsQuestion(job=job_id, ulid=job.ulid, **dict(query))


async def _ask_pairs_of_two(home: Home, request: Request) -> LookQuestion:
    first, second = read_query(request, PairComparisonQuery).ids
    await read_table(home, lambda table: [table.get(each) for each in (first, second)])
    return PairComparisonQuestion(jobs=(first, second))


async def _read_posted(home: Home, request: Request, query: SpecQuery) -> JobSpec:
    """Reads the spec that is posted, as a file in `jobs/` is read. Raises Refusal, SpecError, CatalogError."""
    posted = await PostedSpec.read(request, query, MAX_BYTES)
    catalog = await asyncio.to_thread(load_catalog, home)
    file = await asyncio.to_thread(read_specs, posted.data, posted.name, catalog, home.jobs)
    if query.job > len(file.specs):
        raise Refusal(422, f"job: there is no job {query.job} of {len(file.specs)}")
    return file.specs[query.job - 1]


LOOKS: Sequence[Look] = (
    Look(
        "POST",
        "/v1/explain",
        "What a spec's job would need: cache, time, memory",
        SpecQuery,
        _ask_needs,
        JobNeeds,
        OF_A_SPEC,
    ),
    Look(
        "POST", "/v1/preview", "A spec's rows as they would be trained on", PreviewQuery, _ask_rows, RowsPage, OF_A_SPEC
    ),
    Look(
        "GET",
        "/v1/losses/{name}/curve",
        "A loss and its slope over z, how much more the policy prefers the chosen answer",
        CurveQuery,
        _ask_curve,
        LossCurve,
        {422: "no such loss, or a parameter is wrong"},
    ),
    Look(
        "GET",
        "/v1/jobs/{job_id}/pairs",
        "A page of a job's pairs under its trained policy, and how their scoring stands",
        PairsQuery,
        _ask_pairs,
        PairsPage,
        {404: "there is no such job"},
    ),
    Look(
        "GET",
        "/v1/compare/pairs",
        "The pairs that only one of two jobs gets right",
        PairComparisonQuery,
        _ask_pairs_of_two,
        PairComparison,
        {404: "there is no such job", 422: "the pairs of both are not scored yet, or these are not two jobs"},
    ),
)
"""All that a look child answers; the kind of each question is in worker_tasks/looks.py."""
