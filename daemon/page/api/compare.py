"""The endpoint that sets jobs side by side, as `prefd compare` does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from prefd.daemon.control.api.endpoint import Endpoint, Query, read_query, respond
from prefd.daemon.control.api.lists import JobNumbers
from prefd.daemon.control.api.responses import DOCUMENTED, MISSING, Answer
from prefd.daemon.control.api.table_reading import read_table
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.comparison import ComparedJob, describe_comparison, gather_job
from prefd.daemon.jobs.table import Job
from prefd.daemon.page.series.course import find_course
from prefd.daemon.page.series.kept_columns import KeptColumns
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.specs.job_spec import JobSpec

MOST_JOBS = 100


class JobBesideOthers(Answer):
    """JobBesideOthers is a job of a comparison. Every measure is a field more, by its name: its value, or null."""

    model_config = DOCUMENTED | ConfigDict(extra="allow")

    job: int
    name: str
    state: str
    loss: str | None
    """The names of its losses; null where this version of prefd does not understand its spec."""
    settings: dict[str, Any]
    """Those by which the jobs differ."""
    evaluated_at_step: int | None
    """The step of the evaluation: that of the adapter, where the job has left one, or the last."""


class ComparisonOfJobs(Answer):
    """ComparisonOfJobs holds jobs side by side."""

    jobs: list[JobBesideOthers]
    differing: list[str]
    """The settings that are not the same in all of them, by dotted name."""
    best: dict[str, list[int]]
    """Measure → the jobs with the best value; only measures that can be compared here."""
    notes: list[str]
    """What is missing and why, and what cannot be compared."""


class ComparisonQuery(Query):
    """ComparisonQuery holds the parameters of a comparison."""

    ids: JobNumbers = Field(min_length=1, max_length=MOST_JOBS)
    """The jobs: given several times, or once with commas."""


def list_endpoints(home: Home, columns: KeptColumns) -> Sequence[Endpoint]:
    """Lists the endpoint of comparisons. `columns`: what was read of runs before."""

    def gather(job: Job, spec: JobSpec | None) -> ComparedJob:
        run = RunDir(home.job(job.id))
        with columns.reading(run.metrics) as read:
            return gather_job(job, spec, run, partial(find_course, read))

    async def compare(request: Request) -> Response:
        ids = list(dict.fromkeys(read_query(request, ComparisonQuery).ids))
        jobs = await read_table(home, lambda table: [(table.get(each), table.find_spec(each)) for each in ids])
        return respond(await asyncio.to_thread(lambda: describe_comparison([gather(*each) for each in jobs])))

    return [
        Endpoint(
            "GET",
            "/v1/compare",
            "Jobs side by side: the settings that differ, and how they came off",
            compare,
            ComparisonOfJobs,
            query=ComparisonQuery,
            errors=MISSING,
        )
    ]
