"""A job is run with the spec that it has when it begins, and writes over nothing that was in its folder before."""

from __future__ import annotations

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.runs.refreezing import freeze_edited
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.run_identity import ForeignFolder, RunIdentity
from prefd.daemon.runs.snapshot import read_frozen_spec
from support import homes

FOREIGN = '{"step": 1, "loss": 0.5}\n'


@pytest.fixture
def owner(ready_home: Home) -> RunIdentity:
    """The identity of job 1, which is queued, and into whose folder the metrics of another run were copied."""
    job = homes.add_queued(ready_home, name="mine")
    owner = RunIdentity(job.ulid, 1, "01HOME", "mine")
    freeze_edited(ready_home, 1, homes.make_spec(name="mine"), owner=owner, started=False)
    RunDir(ready_home.job(1)).metrics.write_text(FOREIGN, encoding="utf-8")
    return owner


def test_metrics_that_were_there_before_the_job_began_are_kept(
    ready_home: Home, owner: RunIdentity, caplog: pytest.LogCaptureFixture
) -> None:
    edited = homes.make_spec(name="mine", loss={"name": "sigmoid"})
    run = freeze_edited(ready_home, 1, edited, owner=owner, started=False)
    assert not run.metrics.exists()
    assert (run.root / "metrics-before.jsonl").read_text(encoding="utf-8") == FOREIGN
    assert "was there before the job began, and is none of its: it is kept as metrics-before.jsonl" in caplog.text
    assert read_frozen_spec(run).loss_names == {"sigmoid"}, "nothing of this job was trained yet: the edit counts"
    run.metrics.write_text(FOREIGN, encoding="utf-8")
    freeze_edited(ready_home, 1, edited, owner=owner, started=False)
    assert (run.root / "metrics-before-2.jsonl").exists()


@pytest.mark.parametrize("started", [True, False])
def test_metrics_of_the_job_itself_stay(ready_home: Home, owner: RunIdentity, started: bool) -> None:
    run = RunDir(ready_home.job(1))
    if not started:  # as after a database was filled up from a folder with a checkpoint
        (run.checkpoints / "step-00000001").mkdir(parents=True)
    freeze_edited(ready_home, 1, homes.make_spec(name="mine"), owner=owner, started=started)
    assert run.metrics.read_text(encoding="utf-8") == FOREIGN


def test_nothing_is_renamed_in_the_folder_of_another_job(ready_home: Home, owner: RunIdentity) -> None:
    stranger = RunIdentity("01OTHER", 1, "01HOME", "other")
    with pytest.raises(ForeignFolder):
        freeze_edited(ready_home, 1, homes.make_spec(), owner=stranger, started=False)
    assert RunDir(ready_home.job(1)).metrics.exists()
