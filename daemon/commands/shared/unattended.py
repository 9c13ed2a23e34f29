"""Says what is true of a job whose row says that it runs while no process works on it: after a crash, or in a copied home."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefd.daemon.home.identity import read_identity
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.states import RUNNING

if TYPE_CHECKING:
    from prefd.daemon.jobs.job import Job


def is_worked_on(home: Home, job: Job) -> bool:
    """Returns whether the process that owns the job is alive."""
    from prefd.daemon.home import lock

    return lock.is_held(home) if job.owner == "daemon" else job.owner_lives


def explain_unattended(home: Home, job: Job) -> str:
    """Says that nobody works on a job which is precomputing or training, and what becomes of it; "" for any other job."""
    if job.state not in RUNNING or is_worked_on(home, job):
        return ""
    if job.owner != "daemon":
        return "not running: the `prefd run` that ran it is gone"
    if origin := find_origin(home):
        return f"not running here, but in {origin} when that was copied: it is paused here when the daemon starts"
    return "not running, for no daemon does: it goes on with `prefd start --detach`"


def find_origin(home: Home) -> str:
    """Names the home that this one is a copy of, while its jobs are not held yet; "" where it is no copy."""
    from prefd.daemon.jobs.home_copies import is_unsettled

    if not is_unsettled(home):
        return ""
    identity = read_identity(home.root)
    if identity is None:
        return "another home"
    before = identity.place.root if identity.settled else identity.copied_from
    return before if before != str(home.root) else "the home that was here before"
