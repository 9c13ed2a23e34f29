"""Every command that reads works on a home that nobody can write: a mounted backup, a snapshot, a disk that was remounted."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs import database
from prefd.daemon.jobs.table import JobTable
from support import homes
from support.programs import program, program_environment
from support.thinned import thin
from support.unshared import APART, why_not


def make_home(root: Path, with_log: bool) -> Home:
    """A home with a done job, as a clean stop leaves it, or as a copy of a running one does: with a -wal and no -shm."""
    home = Home(root)
    homes.add_done(home, name="kept")
    with closing(sqlite3.connect(home.database)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if with_log:
            db.execute("UPDATE jobs SET name = 'in the log'")
            db.commit()
            copy = root.with_name("log")
            shutil.copyfile(f"{home.database}-wal", copy)
    if with_log:
        shutil.move(copy, f"{home.database}-wal")
        Path(f"{home.database}-shm").unlink(missing_ok=True)
    return home


@pytest.mark.parametrize(("with_log", "name"), [(False, "kept"), (True, "in the log")])
def test_a_database_that_cannot_be_written_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_log: bool, name: str
) -> None:
    home = make_home(tmp_path / "home", with_log)
    connect = sqlite3.connect

    def refuse(path: str, **options: object) -> sqlite3.Connection:
        if str(path).endswith("?mode=ro"):  # as SQLite does where it cannot make a -shm
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise error
        return connect(path, **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(database.sqlite3, "connect", refuse)
    monkeypatch.setattr(database, "can_write", lambda _: False)
    before = sorted(path.name for path in home.root.iterdir())
    with JobTable.open_readonly(home.database) as table:
        assert [job.name for job in table.list()] == [name]
    assert sorted(path.name for path in home.root.iterdir()) == before


@pytest.mark.slow
@pytest.mark.parametrize("with_log", thin([False, True], (True).__eq__))
def test_every_command_that_reads_reads_a_mounted_backup(tmp_path: Path, with_log: bool) -> None:
    if reason := why_not():
        pytest.skip(f"mounts of its own: {reason}")
    make_home(tmp_path / "home", with_log)
    done = subprocess.run(
        [*APART, *program("support.read_only_home", tmp_path)],
        env=program_environment(),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stdout + done.stderr
