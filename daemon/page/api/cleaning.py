"""The endpoint that says what `prefd clean` would delete. What it names is then deleted by POST /v1/jobs/remove and /v1/discard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from prefd.daemon.control.api.endpoint import Endpoint, Query, Refusal, read_query, respond
from prefd.daemon.control.api.lists import JobNumbers
from prefd.daemon.control.api.responses import Answer
from prefd.daemon.control.api.table_reading import read_table
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.cleaning import (
    Keep,
    OlderThan,
    Rule,
    describe_plan,
    explain_foreign_files,
    measure_job,
    plan_cleaning,
)
from prefd.daemon.jobs.states import ENDED, State


class CleaningStep(Answer):
    """CleaningStep is one thing that would be deleted."""

    job: int
    name: str
    state: str
    part: Literal["job", "checkpoints", "fused"]
    """All of the job, or one folder of it."""
    bytes: int
    """What it takes on disk."""


class KeptJob(Answer):
    """KeptJob is a job that would stay although the rules let it go."""

    job: int
    reason: str


class Cleaning(Answer):
    """Cleaning says what would be deleted."""

    deleted: list[CleaningStep]
    bytes: int
    """What all of it together takes."""
    kept: list[KeptJob]


class CleaningQuery(Query):
    """CleaningQuery holds the parameters of a cleaning; `ids`, `older_than_s`, `keep` or `part` has to be given."""

    ids: JobNumbers = Field([])
    """Only these jobs: given several times, or once with commas."""
    older_than_s: float | None = Field(None, ge=0)
    """What ended longer ago, in seconds."""
    keep: int | None = Field(None, ge=0)
    """All but so many jobs that ended last."""
    part: list[Literal["checkpoints", "fused"]] = Field([])
    """Only these folders, and not whole jobs; may be given twice."""
    group: str | None = None
    """Only jobs of this group."""
    state: list[State] = Field([])
    """Only jobs that ended so: no other state is taken; may be given several times."""


def list_endpoints(home: Home) -> Sequence[Endpoint]:
    """Lists the endpoint that plans a cleaning."""

    async def plan(request: Request) -> Response:
        query = read_query(request, CleaningQuery)
        if query.older_than_s is None and query.keep is None and not query.part and not query.ids:
            raise Refusal(422, "say what: ids, older_than_s, keep or part")
        if going := sorted(set(query.state) - ENDED):
            raise Refusal(422, f"state: a job that is {going[0]} has not ended, and is never deleted")
        jobs, dependents = await read_table(
            home, lambda table: (table.briefs(query.ids or None), table.list_dependents())
        )
        rules: list[Rule] = [] if query.older_than_s is None else [OlderThan(query.older_than_s)]
        rules += [] if query.keep is None else [Keep(query.keep)]

        def decide() -> dict[str, Any]:
            return describe_plan(
                plan_cleaning(
                    [job for job in jobs if query.group in (None, job.group)],
                    rules,
                    query.part,
                    partial(measure_job, home.runs),
                    dependents,
                    time.time(),
                    query.state,
                    partial(explain_foreign_files, home.runs),
                )
            )

        return respond(await asyncio.to_thread(decide))

    return [
        Endpoint(
            "GET",
            "/v1/cleaning",
            "What a cleaning would delete, and what it takes on disk; nothing is deleted",
            plan,
            Cleaning,
            query=CleaningQuery,
        )
    ]
