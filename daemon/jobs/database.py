"""The job database's file: opened, looked at, and refused where it is none, or no longer whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefd.daemon.errors import PrefdError
from prefd.daemon.jobs.migrations import VERSION, migrate
from prefd.daemon.jobs.recovery_records import Records

BUSY_SECONDS = 10.0
IN_MEMORY = Path(":memory:")


class JobTableError(PrefdError):
    """The database cannot be read or written; the message names it and says what to do."""

    http_status = 503


class Unreadable(JobTableError):
    """What is there is no job database, or no longer: only a rebuilt one will do."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path}: {why}; the daemon sets it aside and rebuilds it from runs/ when it is started (`prefd start`), and "
            "within seconds where one runs"
        )
        self.why = why


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """sqlite3's own errors as JobTableError, with the file's name."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise Unreadable(path, str(error)) from error
        raise JobTableError(f"{path}: {error}") from error


def refuse_lost(path: Path) -> None:
    """Raises Unreadable where the database is gone, or emptied, and jobs of it are in `runs/`.

    SQLite would make a new one, and begin again with job 1, in the folder of the old.
    """
    try:
        if path.stat().st_size > 0:
            return
        there = "is empty"
    except FileNotFoundError:
        there = "is gone"
    if path.with_name(f"{path.name}-wal").exists():
        raise Unreadable(path, f"it {there}, and its -wal file is still there")
    if any(Records(path.parent / "runs").ids()):
        raise Unreadable(path, f"it {there}, and there are jobs in runs/")


def inode(path: Path) -> int | None:
    """Which file has this name."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def refuse_damaged(db: sqlite3.Connection, path: Path) -> None:
    """Raises Unreadable where pages, rows or indexes are not whole, or the tables are another program's."""
    found: str = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise Unreadable(path, f"database disk image is malformed: {' '.join(found.split())}")
    refuse_foreign(db, path)


def refuse_foreign(db: sqlite3.Connection, path: Path) -> None:
    """Raises Unreadable where the tables are another program's."""
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"jobs", "history"} <= tables if version_of(db, path) else tables:
        raise Unreadable(path, "it is a database, and not one of jobs")


def version_of(db: sqlite3.Connection, path: Path) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise JobTableError(f"{path} was written by a newer prefd (schema {version}, this one knows {VERSION})")
    return version


def connect(path: Path) -> sqlite3.Connection:
    """For writing; made, or brought to this version, as needed. Raises JobTableError."""
    with explained(path):
        db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            refuse_foreign(db, path)  # and a newer schema, before anything could be written
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("BEGIN IMMEDIATE")
            migrate(db, version_of(db, path))
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        return db


def connect_readonly(path: Path) -> sqlite3.Connection:
    """For reading, daemon or no daemon; an empty one where there is no file. Raises JobTableError."""
    with explained(path):
        refuse_lost(path)
        if not path.exists():
            return connect(IN_MEMORY)
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
        refuse_foreign(db, path)
        version = version_of(db, path)
        if version == 0:  # another process is creating it at this moment
            db.close()
            return connect(IN_MEMORY)
        return db if version == VERSION else _migrated_copy(db, path)


def _migrated_copy(db: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """An older database, as this version would have it, in memory: reading changes no file."""
    copy = sqlite3.connect(":memory:", isolation_level=None)
    db.backup(copy)
    db.close()
    migrate(copy, version_of(copy, path))
    return copy
