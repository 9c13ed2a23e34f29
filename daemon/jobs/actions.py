"""The tables in this module map the names of actions, which the control API and its client share, to methods of JobTable.

Each action is one transaction on the job table, so all of them work without the daemon too. In the daemon the table wakes
the job's supervisor at once. A change by another process is noticed by the daemon when it next looks at the queue, and by
`prefd run` within a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prefd.daemon.jobs.table import Job, JobTable

JOB_ACTIONS: Mapping[str, Callable[[JobTable, int], Job]] = {
    "cancel": JobTable.request_cancel,
    "pause": JobTable.request_pause,
    "resume": JobTable.resume,
    "retry": JobTable.retry,
    "retry-fresh": lambda table, job_id: table.retry(job_id, fresh=True),
}
"""`POST /v1/jobs/<id>/<action>` answers with the job. Each raises JobNotFound; some, IllegalTransition."""

JOB_SUMMARIES: Mapping[str, str] = {
    "cancel": "Call it off; no effect on one that has ended",
    "pause": "Save its state and free its memory",
    "resume": "Let a paused job go on",
    "retry": "Run an ended job again, from its last checkpoint",
    "retry-fresh": "Run an ended job again, from nothing",
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
