"""The endpoints that act on many jobs at once, that edit a job, and that delete parts of jobs' folders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from prefd.daemon.control.answers import Edited
from prefd.daemon.control.api import responses
from prefd.daemon.control.api.endpoint import MAX_JOB_ID, Body, Controlled, Endpoint, read_body, read_job_id, respond
from prefd.daemon.control.api.responses import MISSING
from prefd.daemon.jobs.actions import JOBS_ACTIONS, JOBS_SUMMARIES
from prefd.daemon.jobs.job import Job
from prefd.daemon.specs.edited_spec import EditRequest


class ChosenJobs(Body):
    """ChosenJobs holds the jobs that are acted on, all of them or none."""

    jobs: list[Annotated[int, Field(ge=1, le=MAX_JOB_ID)]] = Field(min_length=1)
    """Their numbers."""


class ChosenSettings(ChosenJobs):
    """ChosenSettings holds the jobs that wait of which the same settings are changed, of all of them or of none."""

    settings: dict[str, Any] = Field(min_length=1)
    """Keys of their specs with the new values: `{"priority": 5}`; null takes a key out."""


class ChosenParts(ChosenJobs):
    """ChosenParts holds the jobs of whose folders a part is deleted."""

    part: Literal["checkpoints", "fused"]
    """Which folder of each."""


def list_endpoints(daemon: Controlled) -> Sequence[Endpoint]:
    """Lists an endpoint for each action on many jobs, and those that edit and delete."""

    def of_jobs(action: str) -> Endpoint:
        async def act(request: Request) -> Response:
            chosen = await read_body(request, daemon.max_list_bytes, ChosenJobs)
            await daemon.act_on_jobs(action, chosen.jobs)
            return respond({"jobs": chosen.jobs}, 202)

        return Endpoint(
            "POST",
            f"/v1/jobs/{action}",
            JOBS_SUMMARIES[action],
            act,
            responses.ActedOn,
            status=202,
            request=ChosenJobs,
            errors={**MISSING, 409: "one is not in a state for it; nothing was changed", 413: "the list is too long"},
        )

    async def edit(request: Request) -> Response:
        job_id = read_job_id(request)
        edited = await daemon.edit(job_id, await read_body(request, daemon.max_spec_bytes, EditRequest))
        return respond(edited.to_json())

    async def edit_settings(request: Request) -> Response:
        chosen = await read_body(request, daemon.max_list_bytes, ChosenSettings)
        edited = daemon.edit_settings(chosen.jobs, chosen.settings)
        return respond({"jobs": [job.to_json() for job in edited]})

    async def discard(request: Request) -> Response:
        chosen = await read_body(request, daemon.max_list_bytes, ChosenParts)
        await daemon.discard(chosen.part, chosen.jobs)
        return respond({"jobs": chosen.jobs}, 202)

    return [
        *map(of_jobs, JOBS_ACTIONS),
        Endpoint(
            "POST",
            "/v1/jobs/edit",
            "Change the same settings of jobs that wait",
            edit_settings,
            Edited,
            request=ChosenSettings,
            errors={
                **MISSING,
                409: "one runs or has ended; nothing was changed",
                413: "the list is too long",
                422: "an edited spec cannot be a job: `lines` says why",
            },
        ),
        Endpoint(
            "POST",
            "/v1/jobs/{job_id}/edit",
            "Change the settings or the spec of a job that waits",
            edit,
            Job,
            request=EditRequest,
            errors={
                **MISSING,
                409: "it runs, has ended, or was edited meanwhile",
                413: "it is too large",
                422: "the edited spec cannot be a job: `lines` says why",
            },
        ),
        Endpoint(
            "POST",
            "/v1/discard",
            "Delete the checkpoints or the fused models of ended jobs",
            discard,
            responses.ActedOn,
            status=202,
            request=ChosenParts,
            errors={**MISSING, 409: "one has not ended", 413: "the list is too long"},
        ),
    ]
