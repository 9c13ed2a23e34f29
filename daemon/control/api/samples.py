"""The endpoint of what a job's policy answered while it trained."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from prefd.daemon.control.api.endpoint import Controlled, Endpoint, Query, read_job_id, read_query, respond
from prefd.daemon.control.api.responses import MISSING
from prefd.daemon.control.api.table_reading import read_table
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.samples import SamplesPage


class SamplesQuery(Query):
    """SamplesQuery holds the parameters of a job's samples."""

    step: int | None = Field(None, ge=0)
    """Only those drawn after this step; default: all."""


def list_endpoints(daemon: Controlled) -> Sequence[Endpoint]:
    """Lists the endpoint of a job's samples."""

    async def samples(request: Request) -> Response:
        step = read_query(request, SamplesQuery).step
        job_id = read_job_id(request)
        job = await read_table(daemon.home, lambda table: table.get(job_id))
        log = RunDir(daemon.home.job(job_id), job.ulid).samples
        page = await asyncio.to_thread(log.read_page, job_id, step, every_step=step is None)
        return respond(page.to_json())

    return [
        Endpoint(
            "GET",
            "/v1/jobs/{job_id}/samples",
            "What its policy answered while it trained, beside its start's answers",
            samples,
            SamplesPage,
            query=SamplesQuery,
            errors=MISSING,
        )
    ]
