"""Whose folder `runs/<number>/` is, by the files in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.runs.phase_outcomes import TrainingOutcome
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.run_identity import ForeignFolder, RunIdentity, read_identities
from prefd.daemon.runs.snapshot import Stock, freeze
from support import homes


@pytest.fixture
def owner(ready_home: Home) -> RunIdentity:
    """The first job of a home, with its frozen spec."""
    job = homes.add_queued(ready_home, name="mine")
    owner = RunIdentity(job.ulid, job.id, name=job.name)
    freeze(ready_home, 1, homes.make_spec(), Stock(), owner=owner)
    return owner


def test_record_and_frozen_spec_both_name_the_job(ready_home: Home, owner: RunIdentity) -> None:
    assert read_identities(ready_home.job(1)) == [owner, owner]


def test_what_was_written_before_jobs_had_ids_names_none(ready_home: Home) -> None:
    homes.run_folder(ready_home, homes.add_queued(ready_home))
    (ready_home.job(1) / "job.json").write_text('{"row": {"id": 1, "name": "old"}, "history": []}')
    assert read_identities(ready_home.job(1)) == []
    for text in ("", "[1]", '{"row": 1}', '{"row": {"ulid": 3, "id": 1, "name": ""}}'):
        (ready_home.job(1) / "job.json").write_text(text)
        assert read_identities(ready_home.job(1)) == []


@pytest.mark.parametrize("name", ["job.json", "spec.json"])
def test_one_file_of_another_job_is_enough_to_refuse_the_folder(
    ready_home: Home, owner: RunIdentity, name: str
) -> None:
    theirs = homes.add_queued(ready_home, name="other").ulid
    freeze(ready_home, 2, homes.make_spec(), Stock(), owner=RunIdentity(theirs, 2, "01HOME", "other"))
    (ready_home.job(1) / name).write_bytes((ready_home.job(2) / name).read_bytes())
    with pytest.raises(
        ForeignFolder, match=rf"holds files of job 2 \(other\).*, {theirs}, and not only of job 1 \(mine\)"
    ):
        freeze(ready_home, 1, homes.make_spec(), Stock(), owner=owner)


def test_a_record_of_another_job_is_not_overwritten(
    ready_home: Home, owner: RunIdentity, caplog: pytest.LogCaptureFixture
) -> None:
    homes.add_queued(ready_home, name="other")
    theirs = (ready_home.job(2) / "job.json").read_bytes()
    (ready_home.job(1) / "job.json").write_bytes(theirs.replace(b'"id": 2', b'"id": 1'))
    before = (ready_home.job(1) / "job.json").read_bytes()
    with JobTable.open(ready_home.database) as table:
        table.request_pause(1)
        table.resume(1)
    assert (ready_home.job(1) / "job.json").read_bytes() == before
    assert caplog.text.count("is the folder of another job") == 1


def test_an_outcome_of_another_job_is_not_read(ready_home: Home, owner: RunIdentity) -> None:
    outcome = TrainingOutcome(ok=True, reason="trained 6 steps")
    mine, theirs = RunDir(ready_home.job(1), owner.job), RunDir(ready_home.job(1), "01OTHER")
    theirs.write_outcome("training", outcome)
    assert mine.outcome("training") is None
    assert RunDir(ready_home.job(1)).outcome("training") == theirs.outcome("training") == outcome
    RunDir(ready_home.job(1)).write_outcome("training", outcome)
    assert mine.outcome("training") == outcome, "an earlier version's says nothing of whose it is"


def test_a_folder_for_runs_that_is_not_mounted_is_told(ready_home: Home, owner: RunIdentity, tmp_path: Path) -> None:
    ready_home.runs.rename(tmp_path / "drive")
    ready_home.runs.symlink_to(tmp_path / "unplugged")
    with pytest.raises(
        Exception, match=f"{ready_home.runs} is a link to {tmp_path}/unplugged, which is not there: mount"
    ):
        freeze(ready_home, 1, homes.make_spec(), Stock(), owner=owner)
