"""JobWriter is the open job database of a process that writes it: its transactions, its records and its listeners.

A transaction is committed with the records of the jobs that it changed, and then wakes those who listen for them. What the
transactions change is JobTable's.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Self

from prefd.daemon.jobs import rows
from prefd.daemon.jobs.database import (
    IN_MEMORY,
    Unreadable,
    connect,
    connect_readonly,
    explain_errors,
    read_inode,
    refuse_lost,
)
from prefd.daemon.jobs.queries import JobQueries
from prefd.daemon.jobs.recovery_records import Record, Records
from prefd.daemon.jobs.states import STATES, State
from prefd.daemon.machine.listeners import Listeners, Settable

log = logging.getLogger(__name__)

MISSING_RECORDS_SECONDS = 0.05
"""How long the daemon's loop writes missing records at a time."""


class JobWriter(JobQueries):
    """JobWriter holds the queries of an open job database, and the frame of every transaction on it. Used from one thread."""

    def __init__(self, connection: sqlite3.Connection, path: Path, records: Records | None = None) -> None:
        super().__init__(connection, path)
        self._records = records
        self._changed: set[int] = set()
        self._told: set[int] = set()
        self._listeners = Listeners[int]()
        self._data_version: int | None = None
        self._inode = read_inode(path)
        self.notes: list[str] = []
        """What was found at the opening that the home's user should know."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open for writing; create as needed. Raises JobTableError, and Unreadable where a database was lost."""
        if path == IN_MEMORY:
            return cls(connect(path), path)
        refuse_lost(path)
        return cls(connect(path), path, Records(path.parent / "runs"))

    @classmethod
    def open_readonly(cls, path: Path) -> Self:
        """Open for reading, daemon or no daemon; an empty table where there is no file. Raises JobTableError."""
        return cls(connect_readonly(path), path)

    @classmethod
    def create(cls, path: Path, records: Sequence[Record], last_id: int, paused_at: float | None) -> None:
        """Make a database at `path` with these jobs in it, whole on disk; the next job's id is above `last_id`."""
        with cls(connect(path), path) as table, table.transaction():
            for record in records:
                rows.restore_job(table._db, record)
            rows.restore_history(table._db, records)
            table._db.execute("DELETE FROM sqlite_sequence WHERE name = 'jobs'")
            table._db.execute("INSERT INTO sqlite_sequence VALUES ('jobs', ?)", (last_id,))
            table._db.execute("UPDATE queue SET paused_at = ?", (paused_at,))

    def reopen(self) -> None:
        """Open the file that has the database's name now, and wake every listener."""
        self._db.close()
        self._db = connect(self._path)
        self._data_version = None
        self._inode = read_inode(self._path)
        self._listeners.tell_all()

    def check_same_file(self) -> None:
        """Raise Unreadable where another file has the database's name: nobody would read what is written to this one."""
        refuse_lost(self._path)
        if read_inode(self._path) != self._inode:
            raise Unreadable(self._path, "another file has its name")

    def listening(self, job_id: int, event: Settable) -> AbstractContextManager[None]:
        """Have `event` set, inside the block, whenever the job is changed through this table, or `tell` says that it was."""
        return self._listeners.listening(job_id, event)

    def tell(self, job_id: int) -> None:
        """Tell the job's listeners that another process has changed it in the database."""
        self._listeners.tell(job_id)

    def was_changed_elsewhere(self) -> bool:
        """Return whether another process has written since the last call; True at the first call. Reads no page."""
        before = self._data_version
        with explain_errors(self._path):
            self._data_version = self._db.execute("PRAGMA data_version").fetchone()[0]
        return self._data_version != before

    def set_home_id(self, home_id: str) -> None:
        """Write down which home the database belongs to, where that is new."""
        if self.home_id() != home_id:
            with self.transaction():
                self._db.execute("UPDATE home SET ulid = ?", (home_id,))

    def write_records(self) -> None:
        """Write each job's record in its folder that differs from its row."""
        if self._records is None:
            return
        with explain_errors(self._path):
            for job_id in [job.id for job in rows.list_in_states(self._db, STATES)]:
                if self._records.read(job_id) != (record := rows.read_record(self._db, job_id)):
                    self._records.write(record)
            self.record_table()
            self._records.forget_ends()

    def restore(self, records: Sequence[Record], last_id: int) -> None:
        """Insert the jobs of these records, or bring their rows up to them; no new job gets a number up to `last_id`.

        Lines of history with no number of their own are put before all others: they were told long ago. Nothing is written
        where nothing is new, so that a daemon starts on a full disk.
        """
        if not records and last_id <= self._find_last_id():
            return
        with self.transaction():
            for record in records:
                job_id = int(record.row["id"])
                if self._exists(job_id):
                    rows.replace_job(self._db, record)
                    rows.restore_history(self._db, [record])
                else:
                    rows.restore_job(self._db, record)
                    rows.restore_old_history(self._db, record)
                self._changed.add(job_id)
            self._db.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'jobs'", (last_id,))

    def _find_last_id(self) -> int:
        """Return the highest number that a job has had; 0 where none had one."""
        with explain_errors(self._path):
            last = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'").fetchone()
        return 0 if last is None else int(last[0])

    def choose_number(self, ulid: str) -> tuple[int | None, list[int]]:
        """Return the number of a new job, within the open transaction, and those that were not free. None: SQLite's choice.

        A number whose folder is there and is not this very job's is never given out: the folder is another home's, or of a
        job that this database does not know.
        """
        if self._records is None:
            return None, []
        newest = "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'jobs'), 0), coalesce(max(id), 0))"
        number: int = self._db.execute(f"{newest} FROM jobs").fetchone()[0] + 1
        occupied_numbers = []
        while not self._records.reserve(number, ulid):
            occupied_numbers.append(number)
            number += 1
        if occupied_numbers:
            log.warning(
                "runs/%d is there already, and is another job's: the new job has number %d", occupied_numbers[0], number
            )
        return number, occupied_numbers

    def write_missing_records(self, seconds: float = MISSING_RECORDS_SECONDS) -> bool:
        """Write the records that could not be written before, as many as time allows; return whether there are more."""
        if self._records is not None and self._records.missing:
            deadline = time.monotonic() + seconds
            with explain_errors(self._path):
                for job_id in sorted(self._records.missing):
                    if time.monotonic() > deadline:
                        return True
                    if self._exists(job_id):
                        self._records.write(rows.read_record(self._db, job_id))
                    else:  # another process has removed the job since
                        self._records.missing.discard(job_id)
            if not self._records.missing:
                self._records.forget_ends()
        return False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the block with the records of the jobs it changed, and wake their listeners; roll back if it raises.

        Inside another transaction the block is a part of that one.
        """
        if self._db.in_transaction:
            yield
            return
        self._changed, self._told = set(), set()
        with explain_errors(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._write_changed()
                self._db.execute("COMMIT")
                if self._records is not None:
                    self._records.keep_reserved()
                for job_id in self._changed | self._told:
                    self._listeners.tell(job_id)
            finally:
                if self._db.in_transaction:  # the body or the commit failed
                    self._db.execute("ROLLBACK")
                    if self._records is not None:
                        self._records.release_reserved()
                        self._records.missing |= {job_id for job_id in self._changed if self._exists(job_id)}

    def _write_changed(self) -> None:
        if self._records is not None:
            for job_id in sorted(self._changed):
                self._records.write(rows.read_record(self._db, job_id))

    def record_table(self) -> None:
        """Write down the last id and the queue's pause, which belong to no job, within the open transaction."""
        if self._records is not None:
            last = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'").fetchone()
            paused_at = self._db.execute("SELECT paused_at FROM queue").fetchone()[0]
            self._records.write_table(last[0] if last else 0, paused_at)

    def record_later(self, job_ids: Sequence[int], state: State, reason: str, timestamp: float) -> None:
        """Write down in one file that many jobs ended alike, within the open transaction; their own records follow.

        `write_missing_records` writes these, a few at a time, or the next daemon when it starts.
        """
        self._told |= set(job_ids)
        if self._records is not None and job_ids:
            self._records.write_ends(job_ids, state, reason, timestamp)
            self._records.missing |= set(job_ids)

    def _exists(self, job_id: int) -> bool:
        return self._db.execute("SELECT 1 FROM jobs WHERE id = ?", (job_id,)).fetchone() is not None
