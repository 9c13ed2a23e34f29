"""JobTable keeps jobs, their states and their history in one SQLite file, which any process may read.

In WAL mode readers never wait for the daemon, nor it for them. Every transition is one transaction, checked against the
table of states, with a line of history and a record in the job's own folder, from which a lost database is rebuilt. The
spec is in the row too, so the row alone is the job.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
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
    CANCELLED_PAUSED,
    CANCELLED_RUNNING,
    CANCELLED_WAITING,
    PAUSED,
    QUEUE_PAUSED,
    RESUMED,
    RETRIED,
    RETRIED_FRESH,
    Change,
    Event,
    IllegalTransition,
    Job,
    JobNotFound,
)
from prefd.daemon.jobs.job_ulids import choose_job_ulid
from prefd.daemon.jobs.queries import serialize_spec
from prefd.daemon.jobs.removals import IDS, JobRemovals
from prefd.daemon.jobs.states import ENDED, RUNNING, TABLE, UNENDED, WAITING, State

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


def describe_taken(numbers: Sequence[int]) -> str:
    """Say in words which numbers a new job did not get; "" where there are none."""
    if not numbers:
        return ""
    span = f"number {numbers[0]} is" if len(numbers) == 1 else f"numbers {numbers[0]} to {numbers[-1]} are"
    return f"{span} taken: runs/{numbers[0]} is there, and is another job's"


FEW_JOBS = 50
"""So many jobs are changed one by one; of more, the rows are changed together, and their records are written afterwards."""


class JobTable(JobRemovals, Edits, FolderSizes):
    """JobTable holds the queries of an open job database, and the transactions that change it. Used from one thread."""

    def add(self, spec: JobSpec, source: str, owner: str = "daemon") -> Job:
        """Add a job in state `queued` and return it. For a claimed file that has a job already, return that job."""
        return self.add_all([spec], source, owner)[0]

    def add_all(
        self,
        specs: Sequence[JobSpec],
        source: str,
        owner: str = "daemon",
        descriptions: Sequence[str] = (),
        reasons: Sequence[str] = (),
        hold: str = "",
    ) -> list[Job]:
        """Add a job for each of a file's specs, all of them or none, and return them.

        For a claimed file that has jobs already, return these. `descriptions`: each job's settings, in words. `reasons`:
        a remark on each job, such as which job has the same spec. `hold`: why the jobs are to be paused from the first.
        """
        now = time.time()
        with self.transaction():
            query = "SELECT id FROM jobs WHERE source = ? AND owner = 'daemon' ORDER BY part"
            if owner == "daemon" and (existing := self._db.execute(query, (source,)).fetchall()):
                return [rows.find_job(self._db, job_id) for (job_id,) in existing]
            none = [""] * len(specs)
            parts = enumerate(zip(specs, descriptions or none, reasons or none, strict=True))
            jobs = [self._insert(spec, source, owner, now, part, *texts) for part, (spec, *texts) in parts]
            if hold:
                jobs = [self._move(job, "paused", hold, {}) for job in jobs]
            self.record_table()
            return jobs

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

    def request_cancel(self, job_id: int) -> Job:
        """Cancel a queued or paused job now, a running one when its worker has stopped. No effect on an ended one."""
        with self.transaction():
            job = rows.find_job(self._db, job_id)
            if job.ended:
                return job
            self._set(job_id, "cancel_requested", 1)
            if job.state in RUNNING:
                return rows.find_job(self._db, job_id)
            return self._move(job, "cancelled", CANCELLED_WAITING if job.started_at is None else CANCELLED_PAUSED, {})

    def cancel_many(self, job_ids: Sequence[int]) -> None:
        """Cancel each of these jobs as `request_cancel` does, all in one transaction. Raises JobNotFound."""
        with self.transaction():
            if len(job_ids) <= FEW_JOBS:
                for job_id in job_ids:
                    self.request_cancel(job_id)
                return
            ids = json.dumps(list(job_ids))
            for (missing,) in self._db.execute(
                "SELECT value FROM json_each(?) WHERE value NOT IN (SELECT id FROM jobs)", (ids,)
            ).fetchall():
                raise rows.make_not_found(self._db, missing)
            self._db.execute(
                f"UPDATE jobs SET cancel_requested = 1 WHERE id IN {IDS} AND state NOT IN {tuple(ENDED)}", (ids,)
            )
            self._changed |= {
                job_id
                for (job_id,) in self._db.execute(
                    f"SELECT id FROM jobs WHERE id IN {IDS} AND state IN {RUNNING}", (ids,)
                )
            }
            waiting = f"FROM jobs WHERE id IN {IDS} AND state IN {WAITING}"
            cancelled = [job_id for (job_id,) in self._db.execute(f"SELECT id {waiting}", (ids,))]
            reason = "CASE WHEN started_at IS NULL THEN ? ELSE ? END"
            reasons, now = (CANCELLED_WAITING, CANCELLED_PAUSED), time.time()
            self._db.execute(
                "INSERT INTO history (job_id, at, state, reason) SELECT id, "
                f"max(?, (SELECT coalesce(max(at), 0) FROM history WHERE job_id = jobs.id)), 'cancelled', {reason} {waiting}",
                (now, *reasons, ids),
            )
            self._db.execute(
                f"UPDATE jobs SET state = 'cancelled', reason = {reason}, finished_at = max(?, created_at), "
                "worker_pid = NULL, worker_started = NULL, pause_requested = 0, waiting = '' "
                f"WHERE id IN {IDS} AND state IN {WAITING}",
                (*reasons, now, ids),
            )
            self.record_later(cancelled, "cancelled", CANCELLED_WAITING, now)

    def request_pause(self, job_id: int) -> Job:
        """Pause a queued job now, a running one when its worker has saved its state and stopped.

        No effect on an ended or paused one. Raises IllegalTransition for one of `prefd run`, which has no queue to wait in.
        """
        with self.transaction():
            return self._request_pause(rows.find_job(self._db, job_id))

    def resume(self, job_id: int) -> Job:
        """Queue a paused job again, and let one that is about to be paused go on. No effect on others."""
        with self.transaction():
            return self._resume(rows.find_job(self._db, job_id))

    def retry(self, job_id: int, fresh: bool = False) -> Job:
        """Queue an ended job again, to go on from its last checkpoint, or from nothing with `fresh`.

        It keeps its id and history. One of `prefd run` becomes the daemon's. Raises IllegalTransition for a job that has
        not ended, or that is done and has nothing to go on with.
        """
        with self.transaction():
            job = rows.find_job(self._db, job_id)
            if not job.ended:
                raise IllegalTransition(f"job {job_id} is {job.state}: only a job that has ended can be run again")
            if job.state == "done" and not fresh:
                raise IllegalTransition(f"job {job_id} is done: there is nothing to go on with; --fresh trains it anew")
            # A path given to `prefd run` may have been given twice: its job's own number tells the two apart.
            self._db.execute(
                "UPDATE jobs SET attempt = attempt + 1, fresh = fresh OR ?, cancel_requested = 0, crashes = 0, "
                "owner = 'daemon', origin = '', "
                "part = CASE owner WHEN 'daemon' THEN part ELSE id END WHERE id = ?",
                (fresh, job_id),
            )
            return self._write(rows.find_job(self._db, job_id), "queued", RETRIED_FRESH if fresh else RETRIED, {})

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

    def pause_queue(self, running_too: bool = False) -> list[Job]:
        """Pause the queue until `resume_queue`. With `running_too`, pause the running jobs too, and return them."""
        with self.transaction():
            self._db.execute("UPDATE queue SET paused_at = coalesce(paused_at, ?)", (time.time(),))
            self.record_table()
            self._db.execute(
                "UPDATE jobs SET waiting = CASE waiting WHEN '' THEN ?1 ELSE ?1 || '; ' || waiting END "
                "WHERE state = 'queued' AND owner = 'daemon' AND substr(waiting, 1, length(?1)) != ?1",
                (QUEUE_PAUSED,),
            )
            running = (
                [job for job in rows.list_in_states(self._db, RUNNING) if job.owner == "daemon"] if running_too else []
            )
            return [self._request_pause(job) for job in running]

    def resume_queue(self, paused_too: bool = False) -> list[Job]:
        """Let the queue start jobs again. With `paused_too`, resume every paused job, and return them."""
        with self.transaction():
            self._db.execute("UPDATE queue SET paused_at = NULL")
            self.record_table()
            self._db.execute(
                "UPDATE jobs SET waiting = substr(waiting, length(?1) + 3) WHERE substr(waiting, 1, length(?1)) = ?1",
                (QUEUE_PAUSED,),
            )
            return [
                self._resume(job)
                for job in rows.list_in_states(self._db, ("paused", *RUNNING))
                if paused_too and job.pausing
            ]

    def hold_unended(self, reason: str) -> list[Job]:
        """Pause every job that has not ended, for `reason`, and return those that went on until now.

        A job of `prefd run` fails with it, for a queue has nothing to resume there.
        """
        with self.transaction():
            held = []
            for job in rows.list_in_states(self._db, UNENDED):
                if job.cancel_requested:
                    self._move(job, "cancelled", CANCELLED_RUNNING, {})
                elif job.owner != "daemon":
                    self._move(job, "failed", reason, {})
                elif job.state != "paused":
                    held.append(self._move(job, "paused", reason, {}))
            return held

    def _request_pause(self, job: Job) -> Job:
        if job.ended or job.state == "paused":
            return job
        if job.owner != "daemon":
            raise IllegalTransition(f"job {job.id} is run by `prefd run` ({job.owner}): end it there, with Ctrl-C")
        if job.state == "queued":
            return self._move(job, "paused", PAUSED, {})
        self._set(job.id, "pause_requested", 1)
        return rows.find_job(self._db, job.id)

    def _resume(self, job: Job) -> Job:
        if job.state == "paused":
            return self._move(job, "queued", RESUMED, {})
        self._set(job.id, "pause_requested", 0)
        return rows.find_job(self._db, job.id)

    def _insert(
        self, spec: JobSpec, source: str, owner: str, now: float, part: int, description: str, reason: str
    ) -> Job:
        """Insert a queued job with its first line of history, within the open transaction."""
        from prefd.daemon.machine.processes import ProcessId

        pid = owner.removeprefix("run:")
        process = ProcessId.find(int(pid)) if pid.isdecimal() and len(pid) < 10 else None
        ulid = choose_job_ulid(self._db, source if owner == "daemon" else "", part)
        number, taken = self.choose_number(ulid)
        reason = "; ".join(filter(None, (reason, describe_taken(taken))))
        job_id = rows.insert_job(
            self._db,
            id=number,
            name=spec.name,
            state="queued",
            reason=reason,
            source=source,
            owner=owner,
            spec=serialize_spec(spec),
            created_at=now,
            job_group=spec.group,
            description=description,
            part=part,
            priority=spec.priority,
            not_before=spec.starts_at,
            after=json.dumps(spec.after),
            boot=process.boot if process else "",
            owner_started=process.started if process else None,
            ulid=ulid,
        )
        self._record(job_id, now, "queued", reason)
        return rows.find_job(self._db, job_id)

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
