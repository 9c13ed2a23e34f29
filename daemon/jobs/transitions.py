"""Transitions move a job from one state to another, within the transaction that is open.

Each is checked against the table of states, and leaves a line of history.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from prefd.daemon.jobs import rows
from prefd.daemon.jobs.job import IllegalTransition, Job
from prefd.daemon.jobs.states import ENDED, RUNNING, TABLE, State
from prefd.daemon.jobs.writer import JobWriter


class Transitions(JobWriter):
    """Transitions changes a job's state, and what follows from it."""

    def _set(self, job_id: int, column: str, value: int) -> None:
        self._db.execute(f"UPDATE jobs SET {column} = ? WHERE id = ?", (value, job_id))
        self._changed.add(job_id)

    def _move(self, job: Job, state: State, reason: str, phase_seconds: Mapping[str, float]) -> Job:
        if state not in TABLE[job.state].may_become:
            raise IllegalTransition(f"job {job.id} is {job.state} and cannot become {state}")
        return self._write(job, state, reason, phase_seconds)

    def _write(self, job: Job, state: State, reason: str, phase_seconds: Mapping[str, float]) -> Job:
        """Set a job's state, and what follows from it, without a check, within the open transaction."""
        now = rows.choose_timestamp(self._db, job.id)
        seconds = dict(job.phase_seconds)
        for phase, added in phase_seconds.items():
            seconds[phase] = seconds.get(phase, 0.0) + added
        self._db.execute(
            "UPDATE jobs SET state = ?, reason = ?, started_at = coalesce(started_at, ?), finished_at = ?, "
            "phase_seconds = ?, worker_pid = NULL, worker_started = NULL, pause_requested = pause_requested AND ?, waiting = '' "
            "WHERE id = ?",
            (
                state,
                reason,
                now if state in RUNNING else None,
                now if state in ENDED else None,
                json.dumps(seconds),
                state in RUNNING,  # between its phases a job is still to be paused
                job.id,
            ),
        )
        self._record(job.id, now, state, reason)
        return rows.find_job(self._db, job.id)

    def _record(self, job_id: int, timestamp: float, state: State, reason: str) -> None:
        rows.insert_event(self._db, job_id, timestamp, state, reason)
        self._changed.add(job_id)
