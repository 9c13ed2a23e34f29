"""The endpoint that archives a job: what is worth keeping of it is copied into one folder, before the job is deleted or the home is left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from prefd.daemon.control.api.endpoint import Endpoint, Query, read_job_id, read_query, respond
from prefd.daemon.control.api.responses import Answer
from prefd.daemon.control.api.table_reading import read_table
from prefd.daemon.home.layout import Home
from prefd.daemon.page.command_child import make_refusal, run_command


class Archived(Answer):
    """Archived says where a job has been copied to."""

    job: int
    archive: str
    """The folder, in `archive/` of the home: no other place can be asked for here."""
    bytes: int


class ArchivingQuery(Query):
    """ArchivingQuery holds the parameters of an archive."""

    fused: bool = Field(False)
    """Whether the fused model is copied too."""


def list_endpoints(home: Home) -> Sequence[Endpoint]:
    """Lists the endpoint that archives a job."""

    async def archive(request: Request) -> Response:
        job_id, query = read_job_id(request), read_query(request, ArchivingQuery)
        await read_table(home, lambda table: table.get(job_id))
        return respond(await asyncio.to_thread(archive_job, home, job_id, query.fused))

    return [
        Endpoint(
            "POST",
            "/v1/jobs/{job_id}/archive",
            "Copy a job that has ended into a folder of `archive/`, as `prefd archive` does; the job stays",
            archive,
            Archived,
            query=ArchivingQuery,
            errors={
                404: "there is no such job",
                409: "it has not ended, is archived already, or cannot be copied: `lines` says why",
            },
            of_daemon=False,
        )
    ]


def archive_job(home: Home, job_id: int, fused: bool) -> dict[str, Any]:
    """Archives a job by the command, whose report takes more memory than this process is to keep. Raises Refusal with its words."""
    arguments = ("archive", str(job_id), *(["--fused"] if fused else []), "--json")
    done = run_command(home, *arguments)
    if done.returncode:
        raise make_refusal(409, done, arguments)
    document: dict[str, Any] = json.loads(done.stdout)
    return {name: document[name] for name in Archived.model_fields}
