"""The endpoints of what lies in a job's folder: its log, its metrics, its files, the spec it was claimed with, and its history."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from prefd.daemon.control.api import responses
from prefd.daemon.control.api.endpoint import Endpoint, Query, read_job_id, read_query, respond
from prefd.daemon.control.api.responses import MISSING
from prefd.daemon.control.api.table_reading import read_table
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.states import RUNNING
from prefd.daemon.jobs.table import Job
from prefd.daemon.runs.claimed_spec import ClaimedSpec, read_claimed_spec
from prefd.daemon.runs.metrics_rows import read_last_rows, read_metrics_rows
from prefd.daemon.runs.run_files import RunFiles, list_files
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.worker_log import LogPart, read_lines, read_lines_after
from prefd.daemon.text.json_output import replace_nonfinite

LINES = 500
"""Lines of a CSV file that are sent at a time."""


class LogQuery(Query):
    """LogQuery holds the parameters of a job's log."""

    last: int = Field(1000, ge=0, le=100_000)
    """Lines, from the end; a megabyte at most."""
    after: int | None = Field(None, ge=0, le=2**53)
    """Only complete lines behind this byte, from there on: the `next` of the answer before. `last` has then no effect."""


class MetricsQuery(Query):
    """MetricsQuery holds the parameters of a job's metrics."""

    last: int | None = Field(None, ge=1)
    """Rows of each, from the end; default: all."""


def list_endpoints(home: Home) -> Sequence[Endpoint]:
    """Lists the endpoints that read a job's folder."""

    async def find_job(request: Request) -> tuple[Job, RunDir]:
        job_id = read_job_id(request)
        return await read_table(home, lambda table: table.get(job_id)), RunDir(home.job(job_id))

    async def log(request: Request) -> Response:
        query = read_query(request, LogQuery)
        job, run = await find_job(request)
        part: LogPart
        if query.after is None:
            part = await asyncio.to_thread(read_lines, run.log, query.last, whole=job.state in RUNNING)
        else:
            part = await asyncio.to_thread(read_lines_after, run.log, query.after)
        return respond({"job": job.id, "log": str(run.log), **asdict(part)})

    async def metrics(request: Request) -> Response:
        query = read_query(request, MetricsQuery)
        job, run = await find_job(request)
        rows = read_metrics_rows if query.last is None else partial(read_last_rows, count=query.last)
        train, evals = await asyncio.to_thread(rows, run)
        return respond({"job": job.id, "name": job.name, "train": train, "eval": evals})

    async def metrics_csv(request: Request) -> Response:
        job, run = await find_job(request)
        return StreamingResponse(
            format_csv(run),
            media_type="text/csv",
            headers={"Content-Disposition": f'attachment; filename="metrics-{job.id}.csv"'},
        )

    async def files(request: Request) -> Response:
        _, run = await find_job(request)
        return respond(asdict(await asyncio.to_thread(list_files, run)))

    async def spec(request: Request) -> Response:
        job, _ = await find_job(request)
        source = job.source if job.owner == "daemon" else None
        return respond(asdict(await asyncio.to_thread(read_claimed_spec, home, job.id, source)))

    async def history(request: Request) -> Response:
        job_id = read_job_id(request)
        job, events = await read_table(home, lambda table: (table.get(job_id), table.history(job_id)))
        lines = [event._asdict() for event in events]
        return respond({"job": job_id, "phase_seconds": dict(job.phase_seconds), "history": lines})

    def of_job(name: str, summary: str, handle: Any, answer: Any, **more: Any) -> Endpoint:
        return Endpoint("GET", f"/v1/jobs/{{job_id}}/{name}", summary, handle, answer, errors=MISSING, **more)

    return [
        of_job("log", "What its workers wrote", log, responses.Log, query=LogQuery),
        of_job("metrics", "What training logged", metrics, responses.Metrics, query=MetricsQuery),
        of_job(
            "metrics.csv",
            "The same as a table",
            metrics_csv,
            "CSV: a row for each line of metrics.jsonl, a column for each metric; empty where it was not finite or has none",
            media="text/csv",
        ),
        of_job("files", "What files it has: checkpoints, adapter, outputs", files, RunFiles),
        of_job("spec", "The spec it was claimed with, and what has changed since", spec, ClaimedSpec),
        of_job("history", "Every state that it has been in, with the reason", history, responses.History),
    ]


def format_csv(run: RunDir) -> Iterator[bytes]:
    """Yields the metrics of a run as CSV, in pieces: first a look at all lines for the columns, then the lines."""
    columns = list(dict.fromkeys(key for row in run.read_metrics() for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore")
    writer.writeheader()
    for number, row in enumerate(run.read_metrics(), 1):
        writer.writerow(replace_nonfinite(row))
        if number % LINES == 0:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode()
