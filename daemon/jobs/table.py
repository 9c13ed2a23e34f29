"""JobTable keeps jobs, their states and their history in one SQLite file, which any process may read.

In WAL mode readers never wait for the daemon, nor it for them. Every transition is one transaction, checked against the
table of states, with a line of history and a record in the job's own folder, from which a lost database is rebuilt. The
spec is in the row too, so the row alone is the job.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from prefd.daemon.jobs import rows
from prefd.daemon.jobs.database import (
    JobTableError,
    Unreadable,
    explain_errors,
)
from prefd.daemon.jobs.edits import Edits
from prefd.daemon.jobs.folder_sizes import FolderSizes
from prefd.daemon.jobs.job import (
    CANCELLED_RUNNING,
    PAUSED,
    QUEUE_PAUSED,
    RESUMED,
    Change,
    Event,
    IllegalTransition,
    Job,
    JobNotFound,
)
from prefd.daemon.jobs.new_jobs import NewJobs
from prefd.daemon.jobs.removals import JobRemovals
from prefd.daemon.jobs.requested_changes import FEW_JOBS, RequestedChanges
from prefd.daemon.jobs.states import State

if TYPE_CHECKING:  # pydantic takes 80 ms to import, and listing jobs needs none of it
    from prefd.daemon.machine.processes import ProcessId
    from prefd.daemon.specs.job_spec import JobSpec

__all__ = [  # the table, and the types and errors that its users need with it
    "FEW_JOBS",
    "QUEUE_PAUSED",
    "RESUMED",
    "Change",
    "Event",
    "IllegalTransition",
    "Job",
    "JobNotFound",
    "JobTable",
    "JobTableError",
    "Unreadable",
]


class JobTable(NewJobs, RequestedChanges, JobRemovals, Edits, FolderSizes):
    """JobTable holds the queries of an open job database, and the transactions that change it. Used from one thread."""

    def set_waiting_reasons(self, reasons: Mapping[int, str]) -> None:
        """Write down why each of these jobs does not run, where it is queued."""
        with explain_errors(self._path):
            old_reasons = dict(self._db.execute("SELECT id, waiting FROM jobs WHERE state = 'queued'").fetchall())
        changed = [(reason, job_id) for job_id, reason in reasons.items() if old_reasons.get(job_id, reason) != reason]
        if changed:
            with self.transaction():
                self._db.executemany("UPDATE jobs SET waiting = ? WHERE id = ? AND state = 'queued'", changed)

    def transition(
        self, job_id: int, state: State, reason: str = "", phase_seconds: Mapping[str, float] | None = None
    ) -> Job:
        """Move a job to `state`. `phase_seconds`: to add to those of its phases. Raises IllegalTransition, JobNotFound."""
        with self.transaction():
            return self._move(rows.find_job(self._db, job_id), state, reason, phase_seconds or {})

    def begin(
        self,
        job_id: int,
        state: State,
        spec: JobSpec,
        reason: str = "",
        phase_seconds: Mapping[str, float] | None = None,
    ) -> Job | None:
        """Move a queued job to its first phase, for which `spec` was prepared.

        None, and no change, where the job was edited, paused or cancelled since its spec was read. Raises JobNotFound.
        """
        with self.transaction():
            if not self.is_as_prepared(job_id, spec):
                return None
            return self._move(rows.find_job(self._db, job_id), state, reason, phase_seconds or {})

    def set_worker(self, job_id: int, worker: ProcessId) -> None:
        """Write down which process works on the job, until its next change of state."""
        with self.transaction():
            self._db.execute(
                "UPDATE jobs SET worker_pid = ?, worker_started = ?, boot = ? WHERE id = ?",
                (worker.pid, worker.started, worker.boot, job_id),
            )
            self._changed.add(job_id)

    def clear_fresh(self, job_id: int) -> None:
        """Write down that the files of the job's earlier attempts have been set aside."""
        with self.transaction():
            self._set(job_id, "fresh", 0)

    def count_crash(self, job_id: int, mark: str) -> int:
        """Count a crash, and return how often the worker has crashed without getting further than `mark`."""
        with self.transaction():
            crashes = rows.find_job(self._db, job_id).crashes
            (before,) = self._db.execute("SELECT crash_mark FROM jobs WHERE id = ?", (job_id,)).fetchone()
            count = crashes + 1 if before == mark else 1
            self._db.execute("UPDATE jobs SET crashes = ?, crash_mark = ? WHERE id = ?", (count, mark, job_id))
            self._changed.add(job_id)
            return count

    def put_back(
        self, job_id: int, reason: str, phase_seconds: Mapping[str, float] | None = None, otherwise: State = "queued"
    ) -> Job:
        """Move a running job that has lost its worker: cancelled or paused where requested, else `otherwise`, for `reason`.

        This is one transaction, so that a request meanwhile either is noticed here or acts on the state this leaves.
        """
        with self.transaction():
            job = rows.find_job(self._db, job_id)
            if job.cancel_requested:
                return self._move(job, "cancelled", CANCELLED_RUNNING, phase_seconds or {})
            if job.pause_requested:
                return self._move(job, "paused", PAUSED, phase_seconds or {})
            return self._move(job, otherwise, reason, phase_seconds or {})
