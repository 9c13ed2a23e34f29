"""`rebuild` sets a job database that cannot be read aside, and makes a new one from the records in the jobs' folders.

The new database is made beside the old one first. Then the old files are renamed, and then the new one: a crash between
leaves a finished database that the next start puts in its place.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path

from prefd.cache.segments.durable import flush
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.recovery import recover_record
from prefd.daemon.jobs.recovery_records import Records
from prefd.daemon.jobs.settling import list_own_ids, settle_home
from prefd.daemon.jobs.table import JobTable, Unreadable

log = logging.getLogger(__name__)

SUFFIXES = ("-wal", "-shm", "")
"""The suffixes of the database's files. Its own comes last: while it is there, not all files are set aside."""


def open_table(home: Home) -> JobTable:
    """Open the home's job table, checked, and rebuilt where it cannot be read. The caller holds the home's lock.

    Raises JobTableError for what no rebuilding mends: a newer schema, a database that may not be opened, a full disk.
    """
    rebuilt = home.database.with_name(f"{home.database.name}.rebuilt")
    if rebuilt.exists():
        put_in_place(home.database, rebuilt)
    try:
        table = _open_settled(home)
    except Unreadable as error:
        log.error("%s", error)
        rebuild(home, error.why)
        table = _open_settled(home)
    table.write_records()
    return table


def mend(home: Home, table: JobTable, problem: str) -> None:
    """Rebuild a database that became unreadable while `table` was open, and reopen `table`. Raises JobTableError."""
    rebuild(home, problem)
    table.reopen()
    settle_home(home, table)
    table.write_records()


def _open_settled(home: Home) -> JobTable:
    """Open the home's job table, whole and this home's own. Raises JobTableError."""
    table = _open_checked(home)
    try:
        settle_home(home, table)
    except BaseException:
        table.close()
        raise
    return table


def _open_checked(home: Home) -> JobTable:
    with JobTable.open_readonly(
        home.database
    ) as table:  # whose closing changes no file, a damaged one's log least of all
        table.check()
    return JobTable.open(home.database)


def rebuild(home: Home, problem: str) -> None:
    """Make a new database from the jobs' folders, and set the old one aside. `problem`: what is wrong with the old one."""
    records = Records(home.runs)
    aside = _choose_unused_name(home.database)
    reason = f"rebuilt from runs/, for the database could not be read ({problem})"
    last_id, paused_at = records.read_table()
    own, ends = list_own_ids(home), records.read_ends()
    rows = [
        record
        for job_id in records.ids()
        if (record := recover_record(home, records, job_id, reason, own, ends.get(job_id))) is not None
    ]
    last_id = max([last_id, _read_last_id(home.database), *records.ids(), *(int(record.row["id"]) for record in rows)])
    beside = home.database.with_name(f"{home.database.name}.rebuilding")
    for suffix in SUFFIXES:
        Path(f"{beside}{suffix}").unlink(missing_ok=True)
    JobTable.create(beside, rows, last_id, paused_at)
    rebuilt = home.database.with_name(f"{home.database.name}.rebuilt")
    beside.rename(rebuilt)
    put_in_place(home.database, rebuilt, aside)
    log.warning("%s: %d jobs %s; what there was is kept as %s", home.database, len(rows), reason, aside.name)


def put_in_place(database: Path, rebuilt: Path, aside: Path | None = None) -> None:
    """Rename `database` to `aside`, a name that is not in use, and `rebuilt` to `database`."""
    aside = aside or _choose_unused_name(database)
    for suffix in SUFFIXES:
        with suppress(FileNotFoundError):
            os.rename(f"{database}{suffix}", f"{aside}{suffix}")
    rebuilt.rename(database)
    flush(database.parent)


def _choose_unused_name(database: Path) -> Path:
    stem = f"{database.name}.unreadable-{datetime.now():%Y%m%dT%H%M%S}"
    names = (stem if number == 1 else f"{stem}-{number}" for number in range(1, 10_000))
    file_names = {path.name for path in database.parent.iterdir()}
    return database.with_name(
        next(name for name in names if not any(f"{name}{suffix}" in file_names for suffix in SUFFIXES))
    )


def _read_last_id(database: Path) -> int:
    """Return the last number that the old database gave to a job; 0 where that cannot be read."""
    try:
        uri = f"{database.absolute().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as db:
            return int(db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'").fetchone()[0])
    except (sqlite3.Error, TypeError, ValueError):
        return 0
