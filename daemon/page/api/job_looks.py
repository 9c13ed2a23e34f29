"""What may be asked of the pairs of a job: how its policy scores them, where two jobs differ, and which to doubt."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field
from starlette.requests import Request

from prefd.daemon.control.api.endpoint import Query, Refusal, read_job_id, read_query
from prefd.daemon.control.api.lists import JobNumbers
from prefd.daemon.control.api.table_reading import read_table
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.page.api.look import Look
from prefd.daemon.runs.pair_answers import PairsOrder, PairsPage, PairsPart
from prefd.daemon.runs.pair_comparison import PairComparison
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker_tasks.inputs import LookQuestion
from prefd.daemon.worker_tasks.looks import MOST_ROWS, PairComparisonQuestion, PairsQuestion
from prefd.daemon.worker_tasks.xrays import FindingKind, XRay, XRayInput


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


class JobXRayQuery(Query):
    """JobXRayQuery says which of the pairs to doubt are listed."""

    only: list[FindingKind] = Field([])
    """Only pairs of this kind; given several times, of these kinds."""
    limit: int = Field(10, ge=1, le=MOST_ROWS)
    """How many of each kind."""


async def _ask_pairs(home: Home, request: Request) -> LookQuestion:
    query, job_id = read_query(request, PairsQuery), read_job_id(request)
    job = await read_table(home, lambda table: table.get(job_id))
    return PairsQuestion(job=job_id, ulid=job.ulid, **dict(query))


async def _ask_pairs_of_two(home: Home, request: Request) -> LookQuestion:
    first, second = read_query(request, PairComparisonQuery).ids
    await read_table(home, lambda table: [table.get(each) for each in (first, second)])
    return PairComparisonQuestion(jobs=(first, second))


async def _ask_doubts(home: Home, request: Request) -> LookQuestion:
    query, job_id = read_query(request, JobXRayQuery), read_job_id(request)
    spec = await read_table(home, lambda table: _read_spec(table, job_id))
    return XRayInput(spec=spec, only=query.only, limit=query.limit)


def _read_spec(table: JobTable, job_id: int) -> JobSpec:
    """Reads the spec of a job that has pairs of its own. Raises JobNotFound, Refusal."""
    name = table.get(job_id).name
    spec = table.find_spec(job_id)
    if spec is None:
        raise Refusal(422, f"job {job_id} ({name}) has a spec of another version of prefd")
    if spec.live is not None:
        raise Refusal(422, f"job {job_id} ({name}) is a client's: it reads no pairs of its own")
    return spec


JOB_LOOKS: Sequence[Look] = (
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
    Look(
        "GET",
        "/v1/jobs/{job_id}/xray",
        "Which of a job's pairs to doubt, as its data is now",
        JobXRayQuery,
        _ask_doubts,
        XRay,
        {404: "there is no such job", 422: "the job has no pairs, or they cannot be read any more: `lines` says why"},
    ),
)
