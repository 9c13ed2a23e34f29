"""Databases of earlier and later versions of prefd."""

import sqlite3
from pathlib import Path

import pytest

from prefd.daemon.jobs.migrations import MIGRATIONS, VERSION
from prefd.daemon.jobs.table import JobTable, JobTableError
from prefd.daemon.specs.job_spec import JobSpec

SPEC = JobSpec.model_validate({"name": "a", "model": "m", "data": {"path": "p"}, "loss": {"name": "ipo", "beta": 0.5}})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.sqlite3"


def test_a_newer_schema_is_refused(path: Path) -> None:
    JobTable.open(path).close()
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    for opening in (JobTable.open, JobTable.open_readonly):
        with pytest.raises(JobTableError, match="written by a newer prefd"):
            opening(path)


def first_version(path: Path) -> None:
    """A database as the first schema had it, with a job that is done and one that waits."""
    database = sqlite3.connect(path)
    database.executescript(MIGRATIONS[0])
    database.execute("PRAGMA user_version = 1")
    for number, state in ((1, "done"), (2, "queued")):
        database.execute(
            "INSERT INTO jobs (name, state, reason, source, owner, spec, created_at) VALUES (?, ?, '', ?, 'daemon', ?, 5.0)",
            (f"old-{number}", state, f"0{number}-old.yaml", SPEC.model_dump_json(exclude={"group"})),
        )
        database.execute("INSERT INTO history VALUES (?, 5.0, ?, 'as it was')", (number, state))
    database.commit()
    database.close()


def test_an_older_database_keeps_its_jobs_and_takes_new_ones(path: Path) -> None:
    first_version(path)
    for _ in range(2):
        with JobTable.open(path) as table:
            assert [(job.id, job.name, job.state, job.group) for job in table.list()][:2] == [
                *((1, "old-1", "done", ""), (2, "old-2", "queued", ""))
            ]
            assert table.history(1)[0].reason == "as it was"
            assert table.spec(2) == SPEC
            assert table.add(SPEC, "02-old.yaml").id == 2, "a claimed file is still one job"
            assert table.add_all([SPEC, SPEC], "03-new.yaml")[0].id == 3
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)
    database.close()


def test_reading_an_older_database_changes_nothing(path: Path) -> None:
    first_version(path)
    before = path.read_bytes()
    with JobTable.open_readonly(path) as table:
        assert [job.name for job in table.list()] == ["old-1", "old-2"]
    assert path.read_bytes() == before


def test_a_migrated_database_is_the_same_as_a_new_one(path: Path, tmp_path: Path) -> None:
    first_version(path)
    JobTable.open(path).close()
    JobTable.open(tmp_path / "new.sqlite3").close()

    def schema(file: Path) -> list[tuple[str, str]]:
        database = sqlite3.connect(file)
        tables = database.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite%' ORDER BY name")
        rows = tables.fetchall()
        database.close()
        return rows

    assert schema(path) == schema(tmp_path / "new.sqlite3")


def test_jobs_of_an_older_database_get_ulids_that_stay(path: Path) -> None:
    first_version(path)
    claim = "01M8JM63F7P708G3B0PN9VRKRM"
    with sqlite3.connect(path) as database:
        database.execute("UPDATE jobs SET source = ? WHERE id = 1", (f"{claim}-old.yaml",))
    database.close()
    with JobTable.open(path) as table:
        first, second = (job.ulid for job in table.list())
    assert first == claim, "a job that was claimed as a file has the claim's"
    assert len(second) == 26
    with JobTable.open(path) as table:
        assert [job.ulid for job in table.list()] == [first, second]
