"""What folders take is written down once they are measured, and parts of them are deleted whole or not at all."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs import leftovers
from prefd.daemon.jobs.leftovers import set_aside
from prefd.daemon.jobs.rebuild import open_table
from prefd.daemon.jobs.removals import NotRemovable
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.runs.disk_usage import RunSize, list_parts, measure_run
from prefd.daemon.runs.run_folder import RunDir
from support import homes


@pytest.fixture
def done(ready_home: Home) -> Home:
    homes.add_done(ready_home)
    for part in ("checkpoints/step-00000010", "fused", "attempts/1/checkpoints/step-00000005"):
        (ready_home.job(1) / part).mkdir(parents=True)
        (ready_home.job(1) / part / "weights").write_bytes(b"x" * 20_000)
    return ready_home


def test_a_folder_is_measured_with_its_parts_and_those_of_earlier_attempts(done: Home) -> None:
    size = measure_run(RunDir(done.job(1)))
    block = os.stat(done.job(1) / "fused" / "weights").st_blocks * 512
    folders = [done.job(1) / part for part in ("checkpoints/step-00000010", "attempts/1/checkpoints/step-00000005")]
    beside = sum(os.stat(folder).st_blocks * 512 for folder in folders)
    assert (size.checkpoints, size.fused) == (2 * block + beside, block)
    assert size.bytes > 3 * block
    assert measure_run(RunDir(done.job(9))) == RunSize(0, 0, 0)


def test_an_ended_job_is_measured_once_whatever_the_clock_says(done: Home) -> None:
    homes.add_queued(done, name="waits")
    with JobTable.open(done.database) as table:
        assert table.unmeasured() == [1]
        table._db.execute("UPDATE jobs SET finished_at = ? WHERE id = 1", (time.time() + 9999,))
        table.set_sizes({1: RunSize(5, 3, 1), 99: RunSize(1, 1, 1)})
        assert table.unmeasured() == []
        assert table.get(1).bytes == 5
        assert table.largest(3) == (5, [(1, 5)]), "a job that is not there has no size"
        table.retry(1, fresh=True)
        table.request_cancel(1)
        table._db.execute("UPDATE jobs SET finished_at = finished_at + 99999 WHERE id = 1")
        assert table.unmeasured() == [1], "it has ended again since"


def test_a_job_that_has_not_ended_keeps_its_parts(done: Home) -> None:
    with JobTable.open(done.database) as table:
        table.retry(1, fresh=True)
        with pytest.raises(NotRemovable, match="job 1 is queued, and needs its checkpoints; `prefd cancel 1` ends it"):
            table.discard(done.runs, [1], "checkpoints", partial(set_aside, done))
    assert len(list_parts(RunDir(done.job(1)), "checkpoints")) == 2


class Killed(BaseException):
    """The process is gone: nothing after it runs."""


@pytest.mark.parametrize("point", ["before the rename", "between the renames", "before the commit", "before the files"])
def test_a_part_whose_deletion_is_killed_is_whole_or_gone(
    done: Home, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = [0]

    def discard(path: Path, name: str) -> bool:
        count[0] += 1
        if point == "before the rename" or (point == "between the renames" and count[0] == 2):
            raise Killed
        return set_aside(done, path, name)

    def die(*_: object) -> None:
        raise Killed

    with JobTable.open(done.database) as table, monkeypatch.context() as patched:
        if point == "before the commit":
            patched.setattr(JobTable, "_write_changed", die)
        patched.setattr(leftovers, "_delete_tree", die)
        with pytest.raises(Killed):  # noqa: PT012  # wherever it is
            table.discard(done.runs, [1], "checkpoints", discard)
            leftovers.delete_set_aside(done)
    with open_table(done) as table:
        leftovers.delete_set_aside(done)
        assert table.get(1).state == "done"
        for folder in list_parts(RunDir(done.job(1)), "checkpoints"):
            assert [len(path.read_bytes()) for path in folder.rglob("weights")] == [20_000], "whole"
        assert leftovers.list_set_aside(done) == []
        table.discard(done.runs, [1], "checkpoints", partial(set_aside, done))
        leftovers.delete_set_aside(done)
    assert list_parts(RunDir(done.job(1)), "checkpoints") == []
    assert (done.job(1) / "adapter").is_dir()


def test_of_a_clients_model_the_saved_weights_are_a_part_and_what_a_retry_goes_on_from_is_not(tmp_path: Path) -> None:
    """Without the state a retried job would wait for ever for requests that were deleted once their effects were saved."""
    run = RunDir(tmp_path)
    for folder in (run.live.state, run.live.weights, run.live.sampler_weights):
        folder.mkdir(parents=True)
    assert list_parts(run, "checkpoints") == [run.live.weights]
