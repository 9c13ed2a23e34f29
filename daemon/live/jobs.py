"""DaemonClientJobs has the daemon queue clients' models, and tells from the table of jobs how each stands."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from prefd.daemon.control.client import Client
from prefd.daemon.control.control_error import ControlError
from prefd.daemon.errors import PrefdError
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.states import RUNNING
from prefd.daemon.jobs.table import Job, JobNotFound, JobTable, JobTableError
from prefd.daemon.live.refusal import RefusedCall
from prefd.daemon.machine.threads import run_in_thread

LOOK_SECONDS = 1.0
"""A job's state is read from the table so often at most."""


@dataclass(frozen=True)
class Standing:
    """Standing says how a model's job stands."""

    job_id: int
    state: str
    ended: bool
    runs: bool
    began: bool
    reason: str
    """Why it waits, or ended, in words."""


def describe(job: Job) -> Standing:
    """Return how a job stands."""
    reason = (job.waiting or job.reason).splitlines()[0] if job.waiting or job.reason else ""
    return Standing(job.id, job.state, job.ended, job.state in RUNNING, job.started_at is not None, reason)


class ClientJobs(Protocol):
    """ClientJobs is what the server asks of the daemon."""

    async def open(self, model: Mapping[str, Any]) -> int:
        """Has a model (LiveModel) queued, once, and returns its job's number. Raises RefusedCall."""
        ...

    async def look(self, job_id: int) -> Standing:
        """Returns how a model's job stands. Raises RefusedCall."""
        ...

    async def cancel(self, job_id: int) -> None:
        """Calls off a model that never had its turn."""
        ...


class DaemonClientJobs:
    """DaemonClientJobs asks the daemon of one home."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._looked: dict[int, tuple[float, Standing]] = {}

    async def open(self, model: Mapping[str, Any]) -> int:
        """Have a model queued, once, and return its job's number. Raises RefusedCall (503 while no daemon runs)."""

        def ask() -> int:
            return Client(self.home).open_live(model).id

        try:
            return await run_in_thread(ask)
        except ControlError as error:
            raise RefusedCall(422 if error.status == 422 else 503, str(error)) from None
        except PrefdError as error:  # no daemon runs: the client asks again for some minutes
            raise RefusedCall(503, str(error)) from None

    async def look(self, job_id: int) -> Standing:
        """Return how a model's job stands, as it was a second ago at most. Raises RefusedCall."""
        look_time, standing = self._looked.get(job_id, (0.0, None))
        if standing is not None and time.monotonic() - look_time < LOOK_SECONDS:
            return standing

        def read() -> Standing:
            with JobTable.open_readonly(self.home.database) as table:
                return describe(table.get(job_id))

        try:
            standing = await run_in_thread(read)
        except JobNotFound:
            standing = Standing(job_id, "removed", True, False, True, "the job was removed")
        except JobTableError as error:
            raise RefusedCall(503, str(error)) from None
        self._looked[job_id] = time.monotonic(), standing
        return standing

    async def cancel(self, job_id: int) -> None:
        """Call off a model that never had its turn; without a daemon, its worker will see that nobody asks for it."""

        def ask() -> None:
            with suppress(PrefdError):
                Client(self.home).act_on_jobs("cancel", [job_id])

        await run_in_thread(ask)
        self._looked.pop(job_id, None)
