"""The functions here read and write rows of the tables `jobs` and `history`, within the transaction that is open."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from typing import Any

from prefd.daemon.jobs.job import Job, JobNotFound
from prefd.daemon.jobs.job_ulids import choose_job_ulid
from prefd.daemon.jobs.recovery_records import Record
from prefd.daemon.jobs.states import State
from prefd.daemon.text.times import format_clock

COLUMNS = (
    "id, name, state, reason, source, owner, created_at, started_at, finished_at, phase_seconds, "
    "worker_pid, worker_started, cancel_requested, pause_requested, attempt, fresh, "
    "priority, not_before, after, waiting, job_group, description, boot, owner_started, crashes, "
    "ulid, origin, "
    "(SELECT bytes FROM sizes WHERE job_id = jobs.id) AS bytes"
)
NAMES = [column.split()[-1] for column in COLUMNS.split(", ")]
"""The names of COLUMNS."""


ID_BITS = 63
"""SQLite takes no larger number, not even to look for it."""


def find_job(db: sqlite3.Connection, job_id: int) -> Job:
    """Return the job. Raises JobNotFound."""
    if job_id.bit_length() > ID_BITS:
        raise JobNotFound(f"there is no job {job_id}")
    row = db.execute(f"SELECT {COLUMNS} FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise make_not_found(db, job_id)
    return parse_job(row)


def make_not_found(db: sqlite3.Connection, job_id: int) -> JobNotFound:
    """Make the error for a job that is not there; of one that was removed it says so."""
    removed = db.execute("SELECT name, state, at FROM removed WHERE id = ?", (job_id,)).fetchone()
    if removed is None:
        return JobNotFound(f"there is no job {job_id}")
    name, state, removal_time = removed
    return JobNotFound(f"job {job_id} ({name}), which was {state}, was removed by you: {format_clock(removal_time)}")


def list_in_states(db: sqlite3.Connection, states: Sequence[State]) -> list[Job]:
    """Return the jobs in these states, oldest first."""
    marks = ", ".join("?" * len(states))
    rows = db.execute(f"SELECT {COLUMNS} FROM jobs WHERE state IN ({marks}) ORDER BY id", states)
    return [parse_job(row) for row in rows]


def insert_job(db: sqlite3.Connection, **values: Any) -> int:
    """Insert a job with these values by column, and return its id."""
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    row = db.execute(f"INSERT INTO jobs ({names}) VALUES ({marks})", tuple(values.values()))
    assert row.lastrowid is not None
    return row.lastrowid


def insert_event(db: sqlite3.Connection, job_id: int, timestamp: float, state: State, reason: str) -> None:
    """Insert a line of history. `timestamp`: Unix time."""
    db.execute(
        "INSERT INTO history (job_id, at, state, reason) VALUES (?, ?, ?, ?)", (job_id, timestamp, state, reason)
    )


def choose_timestamp(db: sqlite3.Connection, job_id: int) -> float:
    """Return the Unix time, or that of the job's last change of state where the clock has been set back."""
    last = db.execute("SELECT max(at) FROM history WHERE job_id = ?", (job_id,)).fetchone()[0]
    return max(time.time(), last or 0.0)


def read_record(db: sqlite3.Connection, job_id: int) -> Record:
    """Read the row and history of a job that exists."""
    rows = db.execute("SELECT * FROM jobs WHERE id = ?", (job_id,))
    names = [column[0] for column in rows.description]
    row = dict(zip(names, rows.fetchone(), strict=True)) | {"waiting": ""}  # as of now only, and told without a record
    history = db.execute("SELECT rowid, at, state, reason FROM history WHERE job_id = ? ORDER BY rowid", (job_id,))
    home_id: str = db.execute("SELECT ulid FROM home").fetchone()[0]
    return Record(row, history.fetchall(), row["origin"] or home_id)


def restore_job(db: sqlite3.Connection, record: Record) -> None:
    """Insert the row of a record; values for which this version has no column are left out."""
    columns = {name for _, name, *_ in db.execute("PRAGMA table_info(jobs)")}
    values = {name: value for name, value in record.row.items() if name in columns}
    if not values.get("ulid"):  # of an earlier version
        values["ulid"] = choose_job_ulid(db, str(values.get("source", "")), int(values.get("part", 0)))
    insert_job(db, **values)


def replace_job(db: sqlite3.Connection, record: Record) -> None:
    """Bring the row of a job that is there up to a record of it; values for which there is no column are left out."""
    columns = {name for _, name, *_ in db.execute("PRAGMA table_info(jobs)")} - {"id"}
    values = {name: value for name, value in record.row.items() if name in columns}
    names = ", ".join(f"{name} = ?" for name in values)
    db.execute(f"UPDATE jobs SET {names} WHERE id = ?", (*values.values(), record.row["id"]))


def restore_old_history(db: sqlite3.Connection, record: Record) -> None:
    """Insert the history of a record with numbers below all others: no client that comes back is told of it as news."""
    first = min(0, db.execute("SELECT coalesce(min(rowid), 0) FROM history").fetchone()[0]) - len(record.history)
    lines = [(first + place, record.row["id"], *line[1:]) for place, line in enumerate(record.history)]
    db.executemany("INSERT INTO history (rowid, job_id, at, state, reason) VALUES (?, ?, ?, ?, ?)", lines)


def restore_history(db: sqlite3.Connection, records: Sequence[Record]) -> None:
    """Insert the history of all records. A line keeps its number, which is in clients' cursors; new lines come last."""
    lines = [(line[0], record.row["id"], *line[1:]) for record in records for line in record.history]
    lines.sort(key=lambda line: (line[0] is None, line[0] or 0))
    db.executemany("INSERT INTO history (rowid, job_id, at, state, reason) VALUES (?, ?, ?, ?, ?)", lines)


def parse_job(row: tuple[Any, ...]) -> Job:
    """Make a Job of a row with the columns COLUMNS."""
    values = dict(zip(NAMES, row, strict=True))
    values["phase_seconds"] = {} if values["phase_seconds"] == "{}" else json.loads(values["phase_seconds"])
    for flag in ("cancel_requested", "pause_requested", "fresh"):
        values[flag] = bool(values[flag])
    values["after"] = () if values["after"] == "[]" else tuple(json.loads(values["after"]))
    values["group"] = values.pop("job_group")  # `group` is a word of SQL's own
    return Job(**values)
