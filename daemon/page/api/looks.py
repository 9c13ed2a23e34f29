"""The endpoints that look at a spec while it is written, at a loss's curve, and at the pairs of a job.

A look child of this process answers them (worker_tasks/look_child.py). A newer question of a kind ends the one before it, which is
answered 409: a page asks again at each pause of typing.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ConfigDict, Field
from starlette.requests import Request

from prefd.daemon.control.api.endpoint import Endpoint, Query, read_query
from prefd.daemon.home.layout import Home
from prefd.daemon.page.api.job_looks import JOB_LOOKS
from prefd.daemon.page.api.look import Look
from prefd.daemon.page.api.spec_looks import SPEC_LOOKS
from prefd.daemon.worker_tasks.inputs import LookQuestion
from prefd.daemon.worker_tasks.look_child import LookChild
from prefd.daemon.worker_tasks.looks import MOST_POINTS, CurveQuestion, LossCurve


class CurveQuery(Query):
    """CurveQuery holds the range of a curve; every other parameter is one of the loss's own: `beta=0.3`."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    low: float = Field(-10.0, alias="from", allow_inf_nan=False)
    """The first z."""
    high: float = Field(10.0, alias="to", allow_inf_nan=False)
    """The last z."""
    points: int = Field(121, ge=2, le=MOST_POINTS)
    """How many z, evenly spaced."""


async def _ask_curve(home: Home, request: Request) -> LookQuestion:
    query, name = read_query(request, CurveQuery), request.path_params["name"]
    params = query.model_extra or {}
    return CurveQuestion(name=name, params=params, low=query.low, high=query.high, points=query.points)


LOOKS: Sequence[Look] = (
    *SPEC_LOOKS,
    Look(
        "GET",
        "/v1/losses/{name}/curve",
        "A loss and its slope over z, how much more the policy prefers the chosen answer",
        CurveQuery,
        _ask_curve,
        LossCurve,
        {422: "no such loss, or a parameter is wrong"},
    ),
    *JOB_LOOKS,
)
"""All that a look child answers."""


def list_endpoints(home: Home, child: LookChild) -> Sequence[Endpoint]:
    """Lists the endpoints that `child` answers."""
    return [look.make_endpoint(home, child) for look in LOOKS]
