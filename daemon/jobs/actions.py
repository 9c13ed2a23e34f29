"""What can be asked of a job and of the queue, by the names that the control API and its client share.

Each is one transaction on the job table, so all of them work without the daemon too. In the daemon the table tells who
runs the job at once; what another process writes, the daemon sees when it next looks at the queue, and `prefd run` within
a second.
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
