"""JobQueries reads the job database, for the daemon that writes it and for commands that only read."""

from __future__ import annotations

import builtins
import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from prefd.daemon.jobs import rows as job_rows
from prefd.daemon.jobs.database import explain_errors, refuse_damaged
from prefd.daemon.jobs.followers import find_followers
from prefd.daemon.jobs.job import Brief, Change, Event, Job
from prefd.daemon.jobs.states import ENDED, STATES, State

if TYPE_CHECKING:  # pydantic takes 80 ms to import, and listing jobs needs none of it
    from prefd.daemon.specs.job_spec import JobSpec

UNNAMED = "json_remove(spec, '$.name', '$.group')"


def serialize_spec(spec: JobSpec) -> str:
    """Return the spec as the column `spec` holds it."""
    return spec.model_dump_json(exclude_unset=True)


class JobQueries:
    """JobQueries holds the queries of one open database. Used from one thread; a context manager. Every method raises JobTableError."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        self._path = path

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def check(self) -> None:
        """Check every page of the database. Raises Unreadable for any damage."""
        with explain_errors(self._path):
            refuse_damaged(self._db, self._path)

    def get(self, job_id: int) -> Job:
        """Return the job. Raises JobNotFound."""
        with explain_errors(self._path):
            return job_rows.find_job(self._db, job_id)

    def spec(self, job_id: int) -> JobSpec:
        """Return the job's spec as it was claimed. Raises JobNotFound."""
        with explain_errors(self._path):
            row = self._db.execute("SELECT spec FROM jobs WHERE id = ?", (job_id,)).fetchone()
        if row is None:
            raise job_rows.make_not_found(self._db, job_id)
        from prefd.daemon.specs.job_spec import JobSpec

        return JobSpec.model_validate_json(row[0])

    def find_spec(self, job_id: int) -> JobSpec | None:
        """Return the job's spec; None for one of another version of prefd, which this one cannot read. Raises JobNotFound."""
        try:
            return self.spec(job_id)
        except ValueError:
            return None

    def spec_texts(self, job_ids: Iterable[int]) -> dict[int, str]:
        """Return the specs of these jobs as JSON, by id; of a job that is not there, none."""
        query = "SELECT id, spec FROM jobs WHERE id IN (SELECT value FROM json_each(?))"
        with explain_errors(self._path):
            return dict(self._db.execute(query, (json.dumps(builtins.list(job_ids)),)).fetchall())

    def counts(self) -> dict[State, int]:
        """Count the jobs in each state (zeros included)."""
        with explain_errors(self._path):
            counts = dict(self._db.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())
        return {state: counts.get(state, 0) for state in STATES}

    def sources(self) -> set[str]:
        """Return the names of the claimed files that have a job, or had one whose files are still to be deleted."""
        query = "SELECT source FROM jobs WHERE owner = 'daemon' UNION SELECT source FROM removed WHERE pending"
        with explain_errors(self._path):
            return {row[0] for row in self._db.execute(query)}

    def contents(self, after: int = 0) -> builtins.list[tuple[int, str]]:
        """Return (id, `content`) of every job with a higher id than `after`, oldest first."""
        with explain_errors(self._path):
            rows = self._db.execute(
                f"SELECT id, CASE WHEN json_valid(spec) THEN {UNNAMED} ELSE spec END FROM jobs WHERE id > ? ORDER BY id",
                (after,),
            )
            return rows.fetchall()

    def content(self, spec: JobSpec) -> str:
        """Return the spec as rows hold it, without its `name` and `group`: equal for two specs of the same job."""
        with explain_errors(self._path):
            content: str = self._db.execute(
                f"SELECT {UNNAMED} FROM (SELECT ? AS spec)", (serialize_spec(spec),)
            ).fetchone()[0]
            return content

    def states(self, job_ids: Iterable[int]) -> dict[int, State]:
        """Return the states of these jobs, by id; one that was done and then removed stays done, others are left out."""
        ids = json.dumps(list(job_ids))
        with explain_errors(self._path):
            rows = self._db.execute(
                "SELECT id, state FROM jobs WHERE id IN (SELECT value FROM json_each(?)) UNION ALL "
                "SELECT id, state FROM removed WHERE state = 'done' AND id IN (SELECT value FROM json_each(?))",
                (ids, ids),
            )
            return dict(rows.fetchall())

    def home_id(self) -> str:
        """Return the id of the home that the database belongs to; "" until a daemon has served it."""
        with explain_errors(self._path):
            home_id: str = self._db.execute("SELECT ulid FROM home").fetchone()[0]
            return home_id

    def queue_paused_at(self) -> float | None:
        """Return when (Unix time) the queue was paused; None while it is not."""
        with explain_errors(self._path):
            paused_at: float | None = self._db.execute("SELECT paused_at FROM queue").fetchone()[0]
            return paused_at

    def history(self, job_id: int) -> builtins.list[Event]:
        """Return every state the job has been in, oldest first. Raises JobNotFound."""
        with explain_errors(self._path):
            job_rows.find_job(self._db, job_id)
            rows = self._db.execute("SELECT at, state, reason FROM history WHERE job_id = ? ORDER BY rowid", (job_id,))
            return [Event(*row) for row in rows]

    def last_change(self) -> int:
        """Return the number of the newest line of history, 0 where there is none. Lines are numbered by order of commit."""
        with explain_errors(self._path):
            newest: int = self._db.execute("SELECT coalesce(max(rowid), 0) FROM history").fetchone()[0]
            return newest

    def changes(self, after: int, limit: int, job_id: int | None = None) -> builtins.list[Change]:
        """Return the first `limit` lines of history behind number `after`, of one job or of all."""
        with explain_errors(self._path):
            rows = self._db.execute(
                "SELECT h.rowid, h.job_id, coalesce(jobs.name, removed.name, ''), coalesce(owner, 'daemon'), h.at, h.state, "
                "h.reason, h.rowid = (SELECT max(rowid) FROM history WHERE job_id = h.job_id) "
                "FROM history AS h LEFT JOIN jobs ON jobs.id = h.job_id LEFT JOIN removed ON removed.id = h.job_id "
                "WHERE h.rowid > ? AND (? IS NULL OR h.job_id = ?) ORDER BY h.rowid LIMIT ?",
                (after, job_id, job_id, limit),
            )
            return [Change(*row)._replace(newest=bool(row[-1])) for row in rows]

    def count(self, states: Sequence[State], group: str | None) -> int:
        """Count the jobs in these states (any, when none is named) and in this group, or in any."""
        marks = ", ".join("?" * len(states or STATES))
        with explain_errors(self._path):
            total: int = self._db.execute(
                f"SELECT count(*) FROM jobs WHERE state IN ({marks}) AND job_group = coalesce(?, job_group)",
                (*(states or STATES), group),
            ).fetchone()[0]
            return total

    def page(
        self,
        states: Sequence[State],
        group: str | None,
        before: int | None,
        limit: int,
        job_ids: Sequence[int] = (),
    ) -> tuple[builtins.list[Job], bool]:
        """Return the newest `limit` jobs, oldest first, and whether there are older ones.

        They are of these states (all, when none is named) and this group, with ids below `before` and, where any is named,
        among `job_ids`.
        """
        marks = ", ".join("?" * len(states or STATES))
        among = "AND id IN (SELECT value FROM json_each(?)) " if job_ids else ""
        with explain_errors(self._path):
            rows = self._db.execute(
                f"SELECT {job_rows.COLUMNS} FROM jobs WHERE state IN ({marks}) AND job_group = coalesce(?, job_group) "
                f"AND id < coalesce(?, 9223372036854775807) {among}ORDER BY id DESC LIMIT ?",
                (
                    *(states or STATES),
                    group,
                    before,
                    *([json.dumps(builtins.list(job_ids))] if job_ids else []),
                    limit + 1,
                ),
            )
            jobs = [job_rows.parse_job(row) for row in rows]
        return jobs[:limit][::-1], len(jobs) > limit

    def briefs(self, job_ids: Iterable[int] | None = None) -> builtins.list[Brief]:
        """Return what is needed to choose among jobs and to name them, oldest first: of all, or of these."""
        chosen = "" if job_ids is None else "WHERE id IN (SELECT value FROM json_each(?))"
        values = () if job_ids is None else (json.dumps(builtins.list(job_ids)),)
        with explain_errors(self._path):
            rows = self._db.execute(
                "SELECT id, name, state, job_group, owner, attempt, pause_requested, waiting, finished_at, "
                "sizes.bytes, sizes.checkpoints, sizes.fused, ulid "
                f"FROM jobs LEFT JOIN sizes ON sizes.job_id = jobs.id {chosen} ORDER BY id",
                values,
            )
            return [Brief(*row) for row in rows]

    def queue_places(self) -> dict[int, int]:
        """Return the place of each queued job in the order in which they start, 1 for the next, by id."""
        with explain_errors(self._path):
            rows = self._db.execute(
                "SELECT id FROM jobs WHERE state = 'queued' AND owner = 'daemon' ORDER BY -priority, id"
            )
            return {job_id: place for place, (job_id,) in enumerate(rows, 1)}

    def list_dependents(self) -> dict[int, int]:
        """Return for each job that another one, which has not ended, is to run after: that other one."""
        query = f"SELECT id, after FROM jobs WHERE after != '[]' AND state NOT IN {tuple(ENDED)} ORDER BY id DESC"
        with explain_errors(self._path):
            return {each: job_id for job_id, after in self._db.execute(query) for each in json.loads(after)}

    def followers(self, job_ids: Sequence[int]) -> builtins.list[Job]:
        """Return the failed jobs that a retry of `job_ids` takes along, as `find_followers` does."""
        query = f"SELECT {job_rows.COLUMNS} FROM jobs WHERE state = 'failed' AND after != '[]' ORDER BY id"
        with explain_errors(self._path):
            failed = [job_rows.parse_job(row) for row in self._db.execute(query)]
        return find_followers(failed, self.states({each for job in failed for each in job.after}), job_ids)

    def largest(self, most: int) -> tuple[int, builtins.list[tuple[int, int]]]:
        """Return what all measured folders take in bytes, and (id, bytes) of the `most` largest."""
        with explain_errors(self._path):
            total: int = self._db.execute("SELECT coalesce(sum(bytes), 0) FROM sizes").fetchone()[0]
            rows = self._db.execute("SELECT job_id, bytes FROM sizes ORDER BY bytes DESC, job_id LIMIT ?", (most,))
            return total, rows.fetchall()

    def list(self, *states: State) -> builtins.list[Job]:
        """Return the jobs in these states (all, when none is named), oldest first."""
        with explain_errors(self._path):
            return job_rows.list_in_states(self._db, states or STATES)
