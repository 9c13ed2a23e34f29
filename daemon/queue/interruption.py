"""`judge_interruption` decides what becomes of a job that the table calls running although nothing runs it.

A daemon that was killed, or a machine that lost power, costs a job nothing: it goes on from where it stood. But a job that was
running when the machine went down twice may be what takes it down (a GPU driver's panic does so), and then it would do
so at each start. Such a job is held until its user says that it may go on.
"""

from __future__ import annotations

from prefd.daemon.jobs.states import ENDED, State
from prefd.daemon.jobs.table import RESUMED, Job, JobTable
from prefd.daemon.machine.processes import boot_id

DAEMON_GONE = "the daemon ended while it ran; it goes on from where it stood"
REBOOTED = "the machine restarted while it ran; it goes on from where it stood"
REBOOTS = 2
"""How often the machine may go down under a job before it is held."""


def judge_interruption(table: JobTable, job: Job) -> tuple[State, str]:
    """Return the state that a running job is put back into when its daemon has gone, and why."""
    if not job.boot or job.boot == boot_id():
        return "queued", DAEMON_GONE
    reboots = 1
    for event in table.history(job.id):
        reboots = 1 if event.state in ENDED or event.reason == RESUMED else reboots + (event.reason == REBOOTED)
    if reboots < REBOOTS:
        return "queued", REBOOTED
    return "paused", (
        f"the machine restarted while it ran, {reboots} times: it may be what takes the machine down, so it is held; "
        f"`prefd resume {job.id}` lets it go on from where it stood"
    )
