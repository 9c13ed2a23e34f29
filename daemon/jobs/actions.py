"""The tables in this module map the names of actions, which the control API and its client share, to methods of JobTable.

Each action is one transaction on the job table, so all of them work without the daemon too. In the daemon the table wakes
the job's supervisor at once. A change by another process is noticed by the daemon when it next looks at the queue, and by
`prefd run` within a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prefd.daemon.jobs.table import Job, JobTable


def _make_act_on_all(act: Callable[[JobTable, int], Job]) -> Callable[[JobTable, Sequence[int]], None]:
    def act_on_all(table: JobTable, job_ids: Sequence[int]) -> None:
        with table.transaction():
            for job_id in job_ids:
                act(table, job_id)

    return act_on_all


JOB_ACTIONS: Mapping[str, Callable[[JobTable, int], Job]] = {
    "cancel": JobTable.request_cancel,
    "pause": JobTable.request_pause,
    "resume": JobTable.resume,
    "retry": JobTable.retry,
    "retry-fresh": lambda table, job_id: table.retry(job_id, fresh=True),
}
"""`POST /v1/jobs/<id>/<action>` answers with the job. Each raises JobNotFound; some, IllegalTransition."""

JOBS_ACTIONS: Mapping[str, Callable[[JobTable, Sequence[int]], None]] = {
    **{action: _make_act_on_all(act) for action, act in JOB_ACTIONS.items()},
    "cancel": JobTable.cancel_many,
    "retry": JobTable.retry_many,
    "retry-fresh": lambda table, job_ids: table.retry_many(job_ids, fresh=True),
    "remove": JobTable.remove,
}
"""`POST /v1/jobs/<action>` does one of these to many jobs in one transaction: to all of them, or to none."""

JOBS_SUMMARIES: Mapping[str, str] = {
    "cancel": "Call jobs off; no effect on those that have ended",
    "pause": "Save the jobs' state and free their memory",
    "resume": "Let paused jobs go on",
    "retry": "Run ended jobs again, from their last checkpoints, and those that failed because of them",
    "retry-fresh": "Run ended jobs again, from nothing, and those that failed because of them",
    "remove": "Delete ended jobs: their rows, their folders and their accepted specs",
}

JOB_SUMMARIES: Mapping[str, str] = {
    "cancel": "Call it off; no effect on one that has ended",
    "pause": "Save its state and free its memory",
    "resume": "Let a paused job go on",
    "retry": "Run an ended job again, from its last checkpoint, and those that failed because of it",
    "retry-fresh": "Run an ended job again, from nothing, and those that failed because of it",
}

QUEUE_ACTIONS: Mapping[str, Callable[[JobTable], list[Job]]] = {
    "pause": JobTable.pause_queue,
    "pause-all": lambda table: table.pause_queue(running_too=True),
    "resume": JobTable.resume_queue,
    "resume-all": lambda table: table.resume_queue(paused_too=True),
}
"""`POST /v1/queue/<action>` answers with the jobs that it acted on."""

QUEUE_SUMMARIES: Mapping[str, str] = {
    "pause": "Start no job; what runs goes on",
    "pause-all": "Start no job, and pause what runs",
    "resume": "Start jobs again",
    "resume-all": "Start jobs again, and let every paused one go on",
}
