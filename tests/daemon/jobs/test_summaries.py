"""What a list shows of jobs beside their rows."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.summaries import JobSummaries, Task
from prefd.daemon.jobs.table import JobTable
from support import homes


def test_jobs_in_every_state_are_summarized(ready_home: Home) -> None:
    homes.add_done(ready_home, name="done")
    homes.add_running(ready_home, name="runs", loss=[{"name": "sigmoid"}, {"name": "sft", "weight": 0.1}])
    homes.add_queued(ready_home, name="waits", training=None)
    homes.add_queued(ready_home, name="first", priority=3)
    homes.add_failed(ready_home, name="failed")
    lost = homes.add_done(ready_home, name="lost")
    shutil.rmtree(ready_home.job(lost.id))
    summaries = JobSummaries(ready_home)
    with JobTable.open_readonly(ready_home.database) as table:
        done, runs, waits, first, failed, gone = summaries.make(table, table.list()).values()
    assert done.task is not None
    assert (done.task.model, done.task.loss, done.task.fine_tune) == ("org/small-model", "ipo (beta 0.1)", "lora")
    assert (done.reports, len(done.spark), done.spark[-1]) == (12, 12, 0.3931)
    assert done.last is not None
    assert done.eval is not None
    assert (done.last["step"], done.eval["eval_rewards/accuracies"], done.progress) == (12, 0.9, None)
    assert runs.task is not None
    assert [(part.name, part.weight, part.params) for part in runs.task.losses] == [
        ("sigmoid", 1, {}),
        ("sft", 0.1, {}),
    ]
    assert runs.progress is not None
    assert (runs.progress.done, runs.reports, runs.eval) == (4, 4, None)
    assert (waits.task, waits.place, first.place) == (
        Task("org/small-model", "ipo (beta 0.1)", waits.task.losses, None),
        2,
        1,
    )  # type: ignore[union-attr]
    assert (failed.reports, failed.warnings) == (0, 0)
    assert "is gone" in gone.folder_lost
    assert gone.last is None


def test_a_spec_of_another_version_has_no_task(ready_home: Home) -> None:
    homes.add_queued(ready_home)
    with closing(sqlite3.connect(ready_home.database)) as database, database:
        database.execute("UPDATE jobs SET spec = ?", ('{"of": "tomorrow"}',))
    with JobTable.open_readonly(ready_home.database) as table:
        assert JobSummaries(ready_home).make(table, table.list())[1].task is None
