"""Jobs as rows: what reads and writes them, within whatever transaction is open."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from typing import Any

from prefd.daemon.jobs.job import Job, JobNotFound
from prefd.daemon.jobs.recovery_records import Record
from prefd.daemon.jobs.states import State

COLUMNS = (
    "id, name, state, reason, source, owner, created_at, started_at, finished_at, phase_seconds, "
    "worker_pid, worker_started, cancel_requested, pause_requested, attempt, fresh, "
    "priority, not_before, after, waiting, job_group, description, boot, owner_started, crashes"
)


def find(db: sqlite3.Connection, job_id: int) -> Job:
    """Raises JobNotFound."""
    row = db.execute(f"SELECT {COLUMNS} FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise JobNotFound(f"there is no job {job_id}")
    return job_of(row)


def in_states(db: sqlite3.Connection, states: Sequence[State]) -> list[Job]:
    """Oldest first."""
    marks = ", ".join("?" * len(states))
    rows = db.execute(f"SELECT {COLUMNS} FROM jobs WHERE state IN ({marks}) ORDER BY id", states)
    return [job_of(row) for row in rows]


def insert(db: sqlite3.Connection, **values: Any) -> int:
    """A row with these columns; its id."""
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    row = db.execute(f"INSERT INTO jobs ({names}) VALUES ({marks})", tuple(values.values()))
    assert row.lastrowid is not None
    return row.lastrowid


def note(db: sqlite3.Connection, job_id: int, at: float, state: State, reason: str) -> None:
    """A line of history."""
    db.execute("INSERT INTO history (job_id, at, state, reason) VALUES (?, ?, ?, ?)", (job_id, at, state, reason))


def now_for(db: sqlite3.Connection, job_id: int) -> float:
    """Unix time, and never before the job's last change of state: the clock may have been set back."""
    last = db.execute("SELECT max(at) FROM history WHERE job_id = ?", (job_id,)).fetchone()[0]
    return max(time.time(), last or 0.0)


def record_of(db: sqlite3.Connection, job_id: int) -> Record:
    """The row and history of a job that there is."""
    rows = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,))
    names = [column[0] for column in rows.description]
    row = dict(zip(names, rows.fetchone(), strict=True)) | {"waiting": ""}  # as of now only, and told without a record
    history = db.execute("SELECT rowid, at, state, reason FROM history WHERE job_id = ? ORDER BY rowid", (job_id,))
    return Record(row, history.fetchall())


def restore(db: sqlite3.Connection, record: Record) -> None:
    """The row of a record, in whatever state it was; what this version has no column for is left out."""
    known = {name for _, name, *_ in db.execute("PRAGMA table_info(jobs)")}
    insert(db, **{name: value for name, value in record.row.items() if name in known})


def restore_history(db: sqlite3.Connection, records: Sequence[Record]) -> None:
    """Every line under its old number, by which others know it; new ones behind them."""
    lines = [(line[0], record.row["id"], *line[1:]) for record in records for line in record.history]
    lines.sort(key=lambda line: (line[0] is None, line[0] or 0))
    db.executemany("INSERT INTO history (rowid, job_id, at, state, reason) VALUES (?, ?, ?, ?, ?)", lines)


def job_of(row: tuple[Any, ...]) -> Job:
    values = dict(zip(COLUMNS.split(", "), row, strict=True))
    values["phase_seconds"] = json.loads(values["phase_seconds"])
    for flag in ("cancel_requested", "pause_requested", "fresh"):
        values[flag] = bool(values[flag])
    values["after"] = tuple(json.loads(values["after"]))
    values["group"] = values.pop("job_group")  # `group` is a word of SQL's own
    return Job(**values)
