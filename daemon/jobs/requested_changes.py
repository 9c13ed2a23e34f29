"""RequestedChanges are the transactions by which people cancel, pause, resume and retry jobs, and hold the queue.

A job that waits is changed at once. Of one that runs, its row notes the request, and its supervisor carries it out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from prefd.daemon.jobs import rows
from prefd.daemon.jobs.followers import describe_failed_parents, find_failed_roots
from prefd.daemon.jobs.job import (
    CANCELLED_PAUSED,
    CANCELLED_RUNNING,
    CANCELLED_WAITING,
    PAUSED,
    QUEUE_PAUSED,
    RESUMED,
    RETRIED,
    RETRIED_FRESH,
    RETRIED_WITH,
    IllegalTransition,
    Job,
)
from prefd.daemon.jobs.removals import IDS
from prefd.daemon.jobs.states import ENDED, RUNNING, UNENDED, WAITING
from prefd.daemon.jobs.transitions import Transitions

FEW_JOBS = 50
"""So many jobs are changed one by one; of more, the rows are changed together, and their records are written afterwards."""


class RequestedChanges(Transitions):
    """RequestedChanges notes what was asked of jobs, and carries it out for those that wait."""

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
        """Queue an ended job again, as `retry_many` does."""
        with self.transaction():
            self.retry_many([job_id], fresh)
            return rows.find_job(self._db, job_id)

    def retry_many(self, job_ids: Sequence[int], fresh: bool = False) -> None:
        """Queue ended jobs again, to go on from their last checkpoints, or from nothing with `fresh`; all of them or none.

        They keep their ids and histories, and jobs that failed because of them are queued too. One of `prefd run` becomes
        the daemon's. Raises IllegalTransition for a job that has not ended, that is done and has nothing to go on with, or
        that is to run after one that failed and is not retried.
        """
        with self.transaction():
            jobs = [rows.find_job(self._db, job_id) for job_id in dict.fromkeys(job_ids)]
            followers = self.followers(job_ids)
            for job in jobs:
                self._retry(job, fresh, RETRIED_FRESH if fresh else RETRIED)
            for job in followers:
                self._retry(job, job.fresh, RETRIED_WITH)
            self._refuse_failed_parents([job for job in jobs if not job.origin])

    def _retry(self, job: Job, fresh: bool, reason: str) -> None:
        if not job.ended:
            raise IllegalTransition(f"job {job.id} is {job.state}: only a job that has ended can be run again")
        if job.is_clients and (fresh or job.state == "done"):
            raise IllegalTransition(
                f"job {job.id} was a client's: what it asked is not kept, so nothing can be run anew; let the client ask again"
            )
        if job.state == "done" and not fresh:
            raise IllegalTransition(f"job {job.id} is done: there is nothing to go on with; --fresh trains it anew")
        # A path given to `prefd run` may have been given twice: its job's own number tells the two apart.
        self._db.execute(
            "UPDATE jobs SET attempt = attempt + 1, fresh = fresh OR ?, cancel_requested = 0, crashes = 0, "
            "owner = 'daemon', origin = '', "
            "part = CASE owner WHEN 'daemon' THEN part ELSE id END WHERE id = ?",
            (fresh, job.id),
        )
        if job.origin and job.after:
            self._db.execute(
                "UPDATE jobs SET after = '[]', spec = json_remove(spec, '$.after') WHERE id = ?", (job.id,)
            )
            reason += "; without `after`, which numbers jobs of the home that it came from"
        self._write(rows.find_job(self._db, job.id), "queued", reason, {})

    def _refuse_failed_parents(self, jobs: Sequence[Job]) -> None:
        """Raise where one of `jobs` would fail again at once, for a job that it is to run after has failed."""
        states = self.states({each for job in jobs for each in job.after})
        for job in jobs:
            if failure := describe_failed_parents(job, states):
                failed = {each.id: each for each in rows.list_in_states(self._db, ["failed"])}
                roots = " ".join(map(str, find_failed_roots(job, failed)))
                raise IllegalTransition(
                    f"job {job.id} would fail again: {failure}. `prefd retry {roots}` takes it along; to run it without, "
                    "submit its spec again without `after`"
                )

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
