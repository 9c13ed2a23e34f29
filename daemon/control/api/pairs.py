"""The endpoint that has the pairs of a finished job scored."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from prefd.daemon.control.api.endpoint import Controlled, Endpoint, read_job_id, respond
from prefd.daemon.runs.pair_answers import PairsState


def list_endpoints(daemon: Controlled) -> Sequence[Endpoint]:
    """Lists the endpoint of a job's pairs."""

    async def score(request: Request) -> Response:
        return respond(daemon.score_pairs(read_job_id(request)).to_json(), 202)

    return [
        Endpoint(
            "POST",
            "/v1/jobs/{job_id}/pairs",
            "Score each pair with the policy that the job has trained",
            score,
            PairsState,
            status=202,
            errors={
                404: "there is no such job",
                409: "it has trained no policy to the end",
                429: "too many wait already",
            },
        )
    ]
