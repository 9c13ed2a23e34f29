"""The endpoints that say how this machine and the daemon's settings are: what `prefd doctor` finds, and what `prefd selftest` found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any, Literal

from pydantic import Field, with_config
from starlette.requests import Request
from starlette.responses import Response

from prefd.daemon.control.api.endpoint import Endpoint, Query, read_query, respond
from prefd.daemon.control.api.responses import DOCUMENTED, Answer
from prefd.daemon.health.finding import HealthFinding
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config, ConfigError
from prefd.daemon.home.settings_listing import DescribedSetting, list_settings
from prefd.daemon.machine.threads import run_in_thread
from prefd.daemon.page.command_child import ask_command

for _kind in (HealthFinding, DescribedSetting):
    with_config(DOCUMENTED)(_kind)

KEPT_SECONDS = 60.0
"""Findings are told again for so long: the checks take seconds, and measure the device beside what trains."""


class Findings(Answer):
    """Findings holds what `prefd doctor` finds."""

    at: float
    """When the checks were made (Unix time)."""
    findings: list[HealthFinding]


class KeptCheck(Answer):
    """KeptCheck is the last result of one check of `prefd selftest`."""

    name: str
    outcome: Literal["ok", "failed", "skipped"]
    finding: str
    """A sentence with what was measured; where it is skipped, why."""
    numbers: dict[str, Any] = Field(default_factory=dict)
    remedy: str = ""
    """What to do where it failed."""
    seconds: float = 0.0
    at: float
    """When it was made (Unix time)."""
    version: str = ""
    """Of prefd."""


class KeptChecks(Answer):
    """KeptChecks holds the last result of each check; none where `prefd selftest` was never run with this home."""

    checks: list[KeptCheck]


class DaemonSettings(Answer):
    """DaemonSettings says what config.toml says now. What is in force is in the daemon's status."""

    file: str
    error: str | None
    """Why it cannot be read; then no setting is told."""
    settings: list[DescribedSetting]


class DoctorQuery(Query):
    """DoctorQuery holds the parameters of `GET /v1/doctor`."""

    anew: bool = False
    """Make the checks now, however lately they were made."""


def run_doctor(home: Home) -> Iterable[HealthFinding]:
    """Have `prefd doctor` make its checks in a child: they import what they look at, zarr and numpy among it. Raises Refusal."""
    return [HealthFinding(**each) for each in ask_command(home, "doctor")["findings"]]


def list_endpoints(
    home: Home, run: Callable[[Home], Iterable[HealthFinding]] = run_doctor, kept_seconds: float = KEPT_SECONDS
) -> Sequence[Endpoint]:
    """Lists the endpoints of machine and settings. `run` makes the checks of `prefd doctor`, whose findings are kept for a while."""
    checking = asyncio.Lock()
    latest: list[tuple[float, Findings]] = []

    async def doctor(request: Request) -> Response:
        anew = read_query(request, DoctorQuery).anew
        request_time = time.monotonic()
        async with checking:  # requests that came meanwhile take these findings
            began = time.monotonic()
            if not latest or (latest[0][0] < request_time if anew else latest[0][0] < began - kept_seconds):
                findings = await run_in_thread(lambda: list(run(home)))
                latest[:] = [(began, Findings(at=time.time(), findings=findings))]
        return respond(latest[0][1].model_dump())

    async def selftest(request: Request) -> Response:
        from prefd.daemon.health.selftest.kept_results import read_results

        return respond({"checks": [KeptCheck.model_validate(each).model_dump() for each in read_results(home)]})

    async def config(request: Request) -> Response:
        try:
            settings, error = list_settings(await run_in_thread(Config.load, home)), None
        except ConfigError as caught:
            settings, error = [], str(caught)
        return respond({"file": str(home.config), "error": error, "settings": [asdict(each) for each in settings]})

    return [
        Endpoint(
            "GET",
            "/v1/doctor",
            "What `prefd doctor` finds; it takes seconds, and is kept for a minute",
            doctor,
            Findings,
            query=DoctorQuery,
        ),
        Endpoint("GET", "/v1/selftest", "What `prefd selftest` found last", selftest, KeptChecks),
        Endpoint("GET", "/v1/config", "What config.toml says", config, DaemonSettings),
    ]
