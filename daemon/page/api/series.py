"""The endpoints of series: a run's metrics in as few points as a chart draws, with every extreme and what is not finite."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from prefd.daemon.control.api.endpoint import Endpoint, Query, Refusal, read_job_id, read_query, respond
from prefd.daemon.control.api.lists import JobNumbers, Words
from prefd.daemon.control.api.responses import Answer
from prefd.daemon.control.api.table_reading import read_table
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import Job
from prefd.daemon.page.series.curves import Curves, draw_curves
from prefd.daemon.page.series.kept_columns import KeptColumns
from prefd.daemon.runs.run_folder import ATTEMPTS, RunDir

MOST_JOBS = 50


class Series(Curves):
    """Series holds what a job's training has logged."""

    job: int
    attempt: int
    """Of which attempt, or of all up to it where they went on from a checkpoint."""
    eval: Curves
    """The same of the evaluations on the held-out pairs, whose metrics begin with `eval_`."""


class SeriesOfJobs(Answer):
    """SeriesOfJobs holds the series of several jobs, drawn alike."""

    series: list[Series]
    """In the order in which the jobs were named."""


class SeriesQuery(Query):
    """SeriesQuery holds the parameters of a job's series."""

    points: int = Field(800, ge=1, le=10_000)
    """The most points of a curve."""
    from_: int | None = Field(None, ge=0, le=2**53, alias="from")
    """The first step; default: the first there is."""
    to: int | None = Field(None, ge=0, le=2**53)
    """The last step, itself included; default: the last there is."""
    keys: Words = Field([])
    """Only these metrics: given several times, or once with commas; default: all."""
    attempt: int | None = Field(None, ge=1)
    """An earlier attempt of the job; default: the last."""


class SeriesOfJobsQuery(SeriesQuery):
    """SeriesOfJobsQuery holds the parameters of the series of several jobs."""

    ids: JobNumbers = Field(min_length=1, max_length=MOST_JOBS)
    """The jobs: given several times, or once with commas."""


def list_endpoints(home: Home, columns: KeptColumns) -> Sequence[Endpoint]:
    """Lists the endpoints of series. `columns`: what was read of runs before."""

    def draw(job: Job, query: SeriesQuery) -> Series:
        path = find_metrics(RunDir(home.job(job.id)), job, query.attempt)
        with columns.reading(path) as run:
            train, evals = (
                draw_curves(rows, query.points, query.from_, query.to, query.keys) for rows in (run.train, run.eval)
            )
        return Series(**vars(train), job=job.id, attempt=query.attempt or job.attempt, eval=evals)

    async def of_job(request: Request) -> Response:
        job_id, query = read_job_id(request), read_query(request, SeriesQuery)
        job = await read_table(home, lambda table: table.get(job_id))
        return await asyncio.to_thread(lambda: respond(draw(job, query).model_dump()))

    async def of_jobs(request: Request) -> Response:
        query = read_query(request, SeriesOfJobsQuery)
        jobs = await read_table(home, lambda table: [table.get(each) for each in dict.fromkeys(query.ids)])
        return await asyncio.to_thread(lambda: respond({"series": [draw(job, query).model_dump() for job in jobs]}))

    missing = {404: "there is no such job, or it has no such attempt"}
    return [
        Endpoint(
            "GET",
            "/v1/jobs/{job_id}/series",
            "What training logged, in a bounded number of points that keep every extreme",
            of_job,
            Series,
            query=SeriesQuery,
            errors=missing,
        ),
        Endpoint(
            "GET",
            "/v1/series",
            "The same of several jobs, to compare them",
            of_jobs,
            SeriesOfJobs,
            query=SeriesOfJobsQuery,
            errors=missing,
        ),
    ]


def find_metrics(run: RunDir, job: Job, attempt: int | None) -> Path:
    """Finds the metrics of an attempt of a job, None for its last. Raises Refusal (404) where nothing was kept of it."""
    if attempt is None or attempt == job.attempt:
        return run.metrics
    folder = run.root / ATTEMPTS
    if not (folder / str(attempt)).is_dir():
        numbers = sorted(int(each.name) for each in folder.glob("*") if each.name.isdecimal())
        there_are = ", ".join(map(str, [*numbers, job.attempt]))
        raise Refusal(404, f"job {job.id} has no files of attempt {attempt}; it has those of {there_are}")
    return folder / str(attempt) / run.metrics.name
