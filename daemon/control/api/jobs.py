"""The endpoints of jobs: all there is to know of one, what can be asked of it, and new ones.

What is read is read as any command reads it, from the table and the run's folder, in a thread with a connection of its own:
so a long list holds up neither the jobs nor the next request.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from prefd.daemon.control.answers import Queued
from prefd.daemon.control.api import job_files, job_list, responses
from prefd.daemon.control.api.endpoint import (
    Controlled,
    Endpoint,
    read_job_id,
    read_query,
    respond,
)
from prefd.daemon.control.api.posted_spec import MEDIA, PostedSpec, PostedSpecQuery
from prefd.daemon.control.api.responses import MISSING
from prefd.daemon.control.api.table_reading import read_table
from prefd.daemon.jobs.actions import JOB_ACTIONS, JOB_SUMMARIES
from prefd.daemon.jobs.details import JobDetails
from prefd.daemon.jobs.table import Job
from prefd.daemon.runs.run_folder import RunDir


def list_endpoints(daemon: Controlled) -> Sequence[Endpoint]:
    """Lists the endpoints that read jobs, submit them and act on them."""
    home = daemon.home

    async def details(request: Request) -> Response:
        job_id = read_job_id(request)
        run = RunDir(home.job(job_id))
        return respond(await read_table(home, lambda table: JobDetails.read(table, job_id, run).to_json()))

    async def submit(request: Request) -> Response:
        spec = await PostedSpec.read(request, read_query(request, PostedSpecQuery), daemon.max_spec_bytes)
        queued = await daemon.submit(spec.data, spec.name)
        return respond({"jobs": [job.to_json() for job in queued]}, 202)

    def of_job(action: str) -> Endpoint:
        async def act(request: Request) -> Response:
            return respond(daemon.act(action, read_job_id(request)).to_json(), 202)

        return Endpoint(
            "POST",
            f"/v1/jobs/{{job_id}}/{action}",
            JOB_SUMMARIES[action],
            act,
            Job,
            status=202,
            errors={**MISSING, 409: "not in the state it is in"},
        )

    return [
        *job_list.list_endpoints(home),
        Endpoint(
            "POST",
            "/v1/jobs",
            "Hand in a spec: checked as a dropped file is, and queued before the answer",
            submit,
            Queued,
            status=202,
            query=PostedSpecQuery,
            body=MEDIA,
            errors={
                413: "it is too large",
                415: "of an unknown type",
                422: "the spec cannot be a job: `lines` says why",
            },
        ),
        Endpoint(
            "GET", "/v1/jobs/{job_id}", "All there is to know of a job", details, responses.JobDocument, errors=MISSING
        ),
        *job_files.list_endpoints(home),
        *map(of_job, JOB_ACTIONS),
    ]
