"""JobTable: jobs, their states and their history, in one SQLite file that anyone may read.

WAL mode: readers never wait for the daemon, nor it for them. Every transition is one transaction, checked against the
table of those that exist, with a line of history. The spec is in the row too, so the row alone is the job.
"""

from __future__ import annotations

import builtins
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from prefd.daemon.job import (
    ALLOWED,
    CANCELLED_PAUSED,
    CANCELLED_RUNNING,
    CANCELLED_WAITING,
    ENDED,
    PAUSED,
    QUEUE_PAUSED,
    RESUMED,
    RETRIED,
    RETRIED_FRESH,
    RUNNING,
    STATES,
    Change,
    Event,
    IllegalTransition,
    Job,
    JobNotFound,
    State,
)
from prefd.daemon.migrations import VERSION, JobTableError, explained, migrate, migrated_copy, version_of

if TYPE_CHECKING:  # pydantic takes 80 ms to import, and who lists jobs needs none of it
    from prefd.daemon.spec import JobSpec

__all__ = [  # what the table's users need besides it
    "ENDED",
    "QUEUE_PAUSED",
    "RESUMED",
    "RUNNING",
    "STATES",
    "Change",
    "Event",
    "IllegalTransition",
    "Job",
    "JobNotFound",
    "JobTable",
    "JobTableError",
    "State",
]

BUSY_SECONDS = 10.0
COLUMNS = (
    "id, name, state, reason, source, owner, created_at, started_at, finished_at, phase_seconds, "
    "worker_pid, worker_started, cancel_requested, pause_requested, attempt, fresh, "
    "priority, not_before, after, waiting, job_group, description"
)


class JobTable:
    """Used from one thread. A context manager that closes itself."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        self._path = path

    @classmethod
    def open(cls, path: Path) -> JobTable:
        """Open for writing; create as needed. Raises JobTableError."""
        with explained(path):
            db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            table = cls(db, path)
            with table._transaction():
                migrate(db, version_of(db, path))
            return table

    @classmethod
    def open_readonly(cls, path: Path) -> JobTable:
        """Open for reading, daemon or no daemon; an empty table where there is no file. Raises JobTableError."""
        with explained(path):
            if not path.exists():
                return cls.open(Path(":memory:"))
            db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
            version = version_of(db, path)
            if version == 0:  # another process is creating it at this moment
                db.close()
                return cls.open(Path(":memory:"))
            return cls(db if version == VERSION else migrated_copy(db, path), path)

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, spec: JobSpec, source: str, owner: str = "daemon") -> Job:
        """A new job in state `queued`. A claimed file that has a job already gives that job."""
        return self.add_all([spec], source, owner)[0]

    def add_all(
        self, specs: Sequence[JobSpec], source: str, owner: str = "daemon", descriptions: Sequence[str] = ()
    ) -> builtins.list[Job]:
        """A new job for each of a file's specs, all of them or none. A claimed file that has jobs already gives these."""
        now = time.time()
        with self._transaction():
            taken = self._db.execute(
                "SELECT id FROM jobs WHERE source = ? AND owner = 'daemon' ORDER BY part", (source,)
            )
            if owner == "daemon" and (found := taken.fetchall()):
                return [self._get(job_id) for (job_id,) in found]
            said = descriptions or [""] * len(specs)
            return [
                self._insert(spec, source, owner, now, part, description)
                for part, (spec, description) in enumerate(zip(specs, said, strict=True))
            ]

    def get(self, job_id: int) -> Job:
        """Raises JobNotFound."""
        with explained(self._path):
            return self._get(job_id)

    def spec(self, job_id: int) -> JobSpec:
        """The spec as it was claimed. Raises JobNotFound."""
        with explained(self._path):
            row = self._db.execute("SELECT spec FROM jobs WHERE id = ?", (job_id,)).fetchone()
        if row is None:
            raise JobNotFound(f"there is no job {job_id}")
        from prefd.daemon.spec import JobSpec

        return JobSpec.model_validate_json(row[0])

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state (zeros included)."""
        with explained(self._path):
            found = dict(self._db.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())
        return {state: found.get(state, 0) for state in STATES}

    def sources(self) -> set[str]:
        """The names of the claimed files that have a job."""
        with explained(self._path):
            return {row[0] for row in self._db.execute("SELECT source FROM jobs WHERE owner = 'daemon'")}

    def contents(self, after: int = 0) -> builtins.list[tuple[int, str]]:
        """(id, spec without the names in it) of every job with a higher id than `after`, oldest first."""
        with explained(self._path):
            rows = self._db.execute(
                "SELECT id, CASE WHEN json_valid(spec) THEN json_remove(spec, '$.name', '$.group') ELSE spec END "
                "FROM jobs WHERE id > ? ORDER BY id",
                (after,),
            )
            return rows.fetchall()

    def note(self, job_id: int, text: str) -> Job:
        """A line in the job's history, which is its reason too where it has none. Raises JobNotFound."""
        with self._transaction():
            job = self._get(job_id)
            self._record(job_id, time.time(), job.state, text)
            self._db.execute("UPDATE jobs SET reason = ? WHERE id = ? AND reason = ''", (text, job_id))
            return self._get(job_id)

    def states(self, job_ids: Iterable[int]) -> dict[int, State]:
        """The state of each of these jobs that there is."""
        with explained(self._path):
            rows = self._db.execute(
                "SELECT id, state FROM jobs WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(list(job_ids)),)
            )
            return dict(rows.fetchall())

    def tell_waiting(self, waiting: Mapping[int, str]) -> None:
        """Why each of these jobs does not run, where it is queued."""
        with explained(self._path):
            said = dict(self._db.execute("SELECT id, waiting FROM jobs WHERE state = 'queued'").fetchall())
        changed = [(why, job_id) for job_id, why in waiting.items() if said.get(job_id, why) != why]
        if changed:
            with self._transaction():
                self._db.executemany("UPDATE jobs SET waiting = ? WHERE id = ? AND state = 'queued'", changed)

    def transition(self, job_id: int, state: State, reason: str = "", took: Mapping[str, float] | None = None) -> Job:
        """Move a job, in one transaction. `took`: seconds to add to its phases. Raises IllegalTransition, JobNotFound."""
        with self._transaction():
            return self._move(self._get(job_id), state, reason, took or {})

    def set_worker(self, job_id: int, pid: int | None, started: float | None) -> None:
        """Which process works on it (None: none)."""
        with self._transaction():
            self._db.execute("UPDATE jobs SET worker_pid = ?, worker_started = ? WHERE id = ?", (pid, started, job_id))

    def request_cancel(self, job_id: int) -> Job:
        """A queued or paused job is cancelled now; a running one when its worker has stopped. No effect on an ended one."""
        with self._transaction():
            job = self._get(job_id)
            if job.ended:
                return job
            self._db.execute("UPDATE jobs SET cancel_requested = 1 WHERE id = ?", (job_id,))
            if job.state in RUNNING:
                return self._get(job_id)
            return self._move(job, "cancelled", CANCELLED_WAITING if job.started_at is None else CANCELLED_PAUSED, {})

    def request_pause(self, job_id: int) -> Job:
        """A queued job is paused now; a running one when its worker has saved its state and stopped.

        No effect on an ended or paused one. Raises IllegalTransition for one of `prefd run`, which has no queue to wait in.
        """
        with self._transaction():
            return self._request_pause(self._get(job_id))

    def resume(self, job_id: int) -> Job:
        """A paused job is queued again, and one that is about to be paused is not. No effect on others."""
        with self._transaction():
            return self._resume(self._get(job_id))

    def retry(self, job_id: int, fresh: bool = False) -> Job:
        """An ended job is queued again, to go on from its last checkpoint, or from nothing with `fresh`.

        It keeps its id and history. One of `prefd run` becomes the daemon's. Raises IllegalTransition for a job that has
        not ended, or that is done and has nothing to go on with.
        """
        with self._transaction():
            job = self._get(job_id)
            if not job.ended:
                raise IllegalTransition(f"job {job_id} is {job.state}: only a job that has ended can be run again")
            if job.state == "done" and not fresh:
                raise IllegalTransition(f"job {job_id} is done: there is nothing to go on with; --fresh trains it anew")
            # A path given to `prefd run` may have been given twice: its job's own number tells the two apart.
            self._db.execute(
                "UPDATE jobs SET attempt = attempt + 1, fresh = fresh OR ?, cancel_requested = 0, owner = 'daemon', "
                "part = CASE owner WHEN 'daemon' THEN part ELSE id END WHERE id = ?",
                (fresh, job_id),
            )
            return self._write(self._get(job_id), "queued", RETRIED_FRESH if fresh else RETRIED, {})

    def begun_afresh(self, job_id: int) -> None:
        """What the job's earlier attempts left has been set aside."""
        with self._transaction():
            self._db.execute("UPDATE jobs SET fresh = 0 WHERE id = ?", (job_id,))

    def put_back(
        self, job_id: int, reason: str, took: Mapping[str, float] | None = None, otherwise: State = "queued"
    ) -> Job:
        """A running job without a worker: cancelled or paused where that was asked for, else `otherwise`, for `reason`.

        One transaction, so that whatever is asked for meanwhile is either seen here or acts on the state this leaves.
        """
        with self._transaction():
            job = self._get(job_id)
            if job.cancel_requested:
                return self._move(job, "cancelled", CANCELLED_RUNNING, took or {})
            if job.pause_requested:
                return self._move(job, "paused", PAUSED, took or {})
            return self._move(job, otherwise, reason, took or {})

    def queue_paused_at(self) -> float | None:
        """Since when (Unix time) no job is started, None while they are."""
        with explained(self._path):
            paused_at: float | None = self._db.execute("SELECT paused_at FROM queue").fetchone()[0]
            return paused_at

    def pause_queue(self, running_too: bool = False) -> builtins.list[Job]:
        """Start no job until `resume_queue`. With `running_too`, pause the running ones: these are returned."""
        with self._transaction():
            self._db.execute("UPDATE queue SET paused_at = coalesce(paused_at, ?)", (time.time(),))
            self._db.execute("UPDATE jobs SET waiting = ? WHERE state = 'queued' AND owner = 'daemon'", (QUEUE_PAUSED,))
            running = [job for job in self._list(RUNNING) if job.owner == "daemon"] if running_too else []
            return [self._request_pause(job) for job in running]

    def resume_queue(self, paused_too: bool = False) -> builtins.list[Job]:
        """Start jobs again. With `paused_too`, resume every paused job: these are returned."""
        with self._transaction():
            self._db.execute("UPDATE queue SET paused_at = NULL")
            self._db.execute("UPDATE jobs SET waiting = '' WHERE waiting = ?", (QUEUE_PAUSED,))
            return [self._resume(job) for job in self._list(("paused", *RUNNING)) if paused_too and job.pausing]

    def history(self, job_id: int) -> builtins.list[Event]:
        """Every state the job has been in, oldest first. Raises JobNotFound."""
        with explained(self._path):
            self._get(job_id)
            rows = self._db.execute("SELECT at, state, reason FROM history WHERE job_id = ? ORDER BY rowid", (job_id,))
            return [Event(*row) for row in rows]

    def last_change(self) -> int:
        """The number of the newest line of history, 0 where there is none. Lines are numbered in the order of commits."""
        with explained(self._path):
            newest: int = self._db.execute("SELECT coalesce(max(rowid), 0) FROM history").fetchone()[0]
            return newest

    def changes(self, after: int, limit: int, job_id: int | None = None) -> builtins.list[Change]:
        """The first `limit` lines of history behind number `after`, of one job or of all."""
        with explained(self._path):
            rows = self._db.execute(
                "SELECT h.rowid, h.job_id, name, owner, at, h.state, h.reason, "
                "h.rowid = (SELECT max(rowid) FROM history WHERE job_id = h.job_id) "
                "FROM history AS h JOIN jobs ON jobs.id = h.job_id "
                "WHERE h.rowid > ? AND (? IS NULL OR h.job_id = ?) ORDER BY h.rowid LIMIT ?",
                (after, job_id, job_id, limit),
            )
            return [Change._make([*row[:-1], bool(row[-1])]) for row in rows]

    def page(
        self, states: Sequence[State], group: str | None, before: int | None, limit: int
    ) -> tuple[builtins.list[Job], bool]:
        """The newest `limit` jobs of these states (all, when none is named) and group, with ids below `before`; oldest
        first. And whether there are older ones.
        """
        marks = ", ".join("?" * len(states or STATES))
        with explained(self._path):
            rows = self._db.execute(
                f"SELECT {COLUMNS} FROM jobs WHERE state IN ({marks}) AND job_group = coalesce(?, job_group) "
                "AND id < coalesce(?, 9223372036854775807) ORDER BY id DESC LIMIT ?",
                (*(states or STATES), group, before, limit + 1),
            )
            found = [_job(row) for row in rows]
        return found[:limit][::-1], len(found) > limit

    def list(self, *states: State) -> builtins.list[Job]:
        """The jobs in these states (all, when none is named), oldest first."""
        with explained(self._path):
            return self._list(states or STATES)

    def _list(self, states: Sequence[State]) -> builtins.list[Job]:
        marks = ", ".join("?" * len(states))
        rows = self._db.execute(f"SELECT {COLUMNS} FROM jobs WHERE state IN ({marks}) ORDER BY id", states)
        return [_job(row) for row in rows]

    def _request_pause(self, job: Job) -> Job:
        if job.ended or job.state == "paused":
            return job
        if job.owner != "daemon":
            raise IllegalTransition(f"job {job.id} is run by `prefd run` ({job.owner}): end it there, with Ctrl-C")
        if job.state == "queued":
            return self._move(job, "paused", PAUSED, {})
        self._db.execute("UPDATE jobs SET pause_requested = 1 WHERE id = ?", (job.id,))
        return self._get(job.id)

    def _resume(self, job: Job) -> Job:
        if job.state == "paused":
            return self._move(job, "queued", RESUMED, {})
        self._db.execute("UPDATE jobs SET pause_requested = 0 WHERE id = ?", (job.id,))
        return self._get(job.id)

    def _insert(self, spec: JobSpec, source: str, owner: str, now: float, part: int, description: str) -> Job:
        row = self._db.execute(
            "INSERT INTO jobs (name, state, reason, source, owner, spec, created_at, job_group, description, part, "
            "priority, not_before, after) VALUES (?, 'queued', '', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(
                    spec.name,
                    source,
                    owner,
                    spec.model_dump_json(exclude_unset=True),
                    now,
                    spec.group,
                    description,
                    part,
                ),
                *(spec.priority, spec.starts_at, json.dumps(spec.after)),
            ),
        )
        assert row.lastrowid is not None
        self._record(row.lastrowid, now, "queued", "")
        return self._get(row.lastrowid)

    def _get(self, job_id: int) -> Job:
        row = self._db.execute(f"SELECT {COLUMNS} FROM jobs WHERE id = ?", (job_id,)).fetchone()
        if row is None:
            raise JobNotFound(f"there is no job {job_id}")
        return _job(row)

    def _move(self, job: Job, state: State, reason: str, took: Mapping[str, float]) -> Job:
        if state not in ALLOWED[job.state]:
            raise IllegalTransition(f"job {job.id} is {job.state} and cannot become {state}")
        return self._write(job, state, reason, took)

    def _write(self, job: Job, state: State, reason: str, took: Mapping[str, float]) -> Job:
        now = time.time()
        seconds = dict(job.phase_seconds)
        for phase, more in took.items():
            seconds[phase] = seconds.get(phase, 0.0) + more
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
        return self._get(job.id)

    def _record(self, job_id: int, at: float, state: State, reason: str) -> None:
        self._db.execute(
            "INSERT INTO history (job_id, at, state, reason) VALUES (?, ?, ?, ?)", (job_id, at, state, reason)
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with explained(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:  # the body or the commit failed
                    self._db.execute("ROLLBACK")


def _job(row: tuple[Any, ...]) -> Job:
    values = dict(zip(COLUMNS.split(", "), row, strict=True))
    values["phase_seconds"] = json.loads(values["phase_seconds"])
    for flag in ("cancel_requested", "pause_requested", "fresh"):
        values[flag] = bool(values[flag])
    values["after"] = tuple(json.loads(values["after"]))
    values["group"] = values.pop("job_group")  # `group` is a word of SQL's own
    return Job(**values)
