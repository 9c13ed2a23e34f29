"""The endpoint of the list of jobs, with or without what a page shows of each beside its row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from prefd.daemon.control.api import responses
from prefd.daemon.control.api.endpoint import Endpoint, Query, read_query, respond
from prefd.daemon.control.api.lists import JobNumbers
from prefd.daemon.control.api.table_reading import read_table
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.states import State
from prefd.daemon.jobs.summaries import JobSummaries
from prefd.daemon.jobs.table import JobTable


class JobsQuery(Query):
    """JobsQuery holds the parameters of `GET /v1/jobs`."""

    state: list[State] = Field([])
    """Only jobs in this state; may be given several times."""
    group: str | None = None
    """Only this group, such as a sweep's jobs."""
    limit: int = Field(1000, ge=1, le=10_000)
    """The newest so many."""
    before: int | None = Field(None, ge=1, le=2**63 - 1)
    """Only jobs with smaller ids: the next page."""
    ids: JobNumbers = Field([])
    """Only these jobs: given several times, or once with commas."""
    with_: Literal["summary"] | None = Field(None, alias="with")
    """`summary`: what each trains, how far it is and how it went, too."""


def list_endpoints(home: Home) -> Sequence[Endpoint]:
    """Lists the endpoint of the list of jobs."""
    summaries = JobSummaries(home)

    async def jobs(request: Request) -> Response:
        query = read_query(request, JobsQuery)

        def list_page(table: JobTable) -> dict[str, Any]:
            page, more = table.page(query.state, query.group, query.before, query.limit, query.ids)
            summary_of = summaries.make(table, page) if query.with_ else {}
            rows = [job.to_json() | ({"summary": summary_of[job.id].to_json()} if summary_of else {}) for job in page]
            return {"jobs": rows, "more": more}

        return respond(await read_table(home, list_page))

    return [Endpoint("GET", "/v1/jobs", "The jobs, oldest first", jobs, responses.Jobs, query=JobsQuery)]
