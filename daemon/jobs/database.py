"""The functions here open the job database's file, and refuse one that is damaged, lost or another program's."""

from __future__ import annotations

import shlex
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from prefd.daemon.errors import PrefdError
from prefd.daemon.jobs.migrations import VERSION, migrate
from prefd.daemon.jobs.recovery_records import Records
from prefd.daemon.machine.owners import can_write, explain_rights

BUSY_SECONDS = 10.0
IN_MEMORY = Path(":memory:")
UNWRITABLE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM}
"""What SQLite says of a database in whose folder it cannot make the files that it reads it through."""


class JobTableError(PrefdError):
    """The database cannot be read or written; the message names it and says what to do."""

    http_status = 503


class Unreadable(JobTableError):
    """The file is no job database, or is damaged, so that the database must be rebuilt."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path}: {why}; the daemon sets it aside and rebuilds it from runs/ when it is started (`prefd start`), and "
            "within seconds where one runs"
        )
        self.why = why


@contextmanager
def explain_errors(path: Path) -> Iterator[None]:
    """Raise sqlite3's errors inside the block as JobTableError, with the file's name."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise Unreadable(path, str(error)) from error
        files = [Path(f"{path}{suffix}") for suffix in ("", "-wal", "-shm")]
        rights = next(filter(None, (explain_rights(file) for file in files if file.exists())), "")
        raise JobTableError(f"{path}: {error}{rights}") from error


def refuse_lost(path: Path) -> None:
    """Raises Unreadable where the database is gone, or emptied, and jobs of it are in `runs/`.

    SQLite would make a new one, and begin again with job 1, in the folder of the old.
    """
    try:
        if path.stat().st_size > 0:
            return
        condition = "is empty"
    except FileNotFoundError:
        condition = "is gone"
    if path.with_name(f"{path.name}-wal").exists():
        raise Unreadable(path, f"it {condition}, and its -wal file is still there")
    if any(Records(path.parent / "runs").ids()):
        raise Unreadable(path, f"it {condition}, and there are jobs in runs/")


def refuse_linked(path: Path) -> None:
    """Raises JobTableError where the file has a second name: a copy of the home made with links would be written with it."""
    try:
        links = path.stat().st_nlink
    except OSError:
        return
    if links > 1:
        quoted = shlex.quote(str(path))
        raise JobTableError(
            f"{path} has {links} names: a copy made with hard links (cp -al) shares it with another home, and both would "
            f"be damaged; stop the daemons of both and give this home its own: cp -p {quoted} {quoted}.own && mv {quoted}.own {quoted}"
        )


def read_inode(path: Path) -> int | None:
    """Return the number of the file that has this name; None where there is none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def refuse_damaged(db: sqlite3.Connection, path: Path) -> None:
    """Raises Unreadable where pages, rows or indexes are not whole, or the tables are another program's."""
    result: str = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if result != "ok":
        raise Unreadable(path, f"database disk image is malformed: {' '.join(result.split())}")
    refuse_foreign(db, path)


def refuse_foreign(db: sqlite3.Connection, path: Path) -> None:
    """Raises Unreadable where the tables are another program's."""
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"jobs", "history"} <= tables if read_version(db, path) else tables:
        raise Unreadable(path, "it is a database, and not one of jobs")


def read_version(db: sqlite3.Connection, path: Path) -> int:
    """Return the version of the database's schema. Raises JobTableError for one that is newer than this program's."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise JobTableError(f"{path} was written by a newer prefd (schema {version}, this one knows {VERSION})")
    return version


def connect(path: Path) -> sqlite3.Connection:
    """Open the database for writing; it is created, or brought to this version, as needed. Raises JobTableError."""
    with explain_errors(path):
        refuse_linked(path)
        db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            refuse_foreign(db, path)  # and a newer schema, before anything could be written
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA checkpoint_fullfsync = ON")  # on macOS, where fsync leaves it in the drive's own cache
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("BEGIN IMMEDIATE")
            migrate(db, read_version(db, path))
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        return db


def connect_readonly(path: Path) -> sqlite3.Connection:
    """Open the database for reading, daemon or no daemon; an empty one where there is no file. Raises JobTableError."""
    with explain_errors(path):
        refuse_lost(path)
        if not path.exists():
            return connect(IN_MEMORY)
        db = _open_for_reading(path)
        refuse_foreign(db, path)
        version = read_version(db, path)
        if version == 0:  # another process is creating it at this moment
            db.close()
            return connect(IN_MEMORY)
        return db if version == VERSION else _migrated_copy(db, path)


def _open_for_reading(path: Path) -> sqlite3.Connection:
    """Open the file read-only, one that nobody here can write included. Raises sqlite3.Error.

    SQLite reads a database in WAL mode through files that it makes beside it. Where it cannot, on a mounted backup, a database
    without a log is whole by itself, and one with a log is read from a copy of both.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        return _open_readable(uri)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in UNWRITABLE or can_write(path.parent):
            raise
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        return _load_copy(path, log)
    return _open_readable(f"{uri}&immutable=1")


def _open_readable(uri: str) -> sqlite3.Connection:
    """Open a database and read of it, which is when SQLite makes the files beside it. Raises sqlite3.Error."""
    db = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)
    try:
        db.execute("SELECT 1 FROM sqlite_master").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def _load_copy(path: Path, log: Path) -> sqlite3.Connection:
    """Copy a database with its log to a temporary folder, and load both into memory."""
    memory = sqlite3.connect(":memory:", isolation_level=None)
    with tempfile.TemporaryDirectory(prefix="prefd-") as folder:
        copy = Path(folder) / path.name
        for source in (path, log):
            shutil.copyfile(source, copy.with_name(source.name))
        with closing(sqlite3.connect(copy)) as db:
            db.backup(memory)
    return memory


def _migrated_copy(db: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """Copy an older database into memory and migrate the copy: reading changes no file."""
    copy = sqlite3.connect(":memory:", isolation_level=None)
    db.backup(copy)
    db.close()
    migrate(copy, read_version(copy, path))
    return copy
