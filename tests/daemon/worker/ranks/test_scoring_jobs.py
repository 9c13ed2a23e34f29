"""Reference passes that ranks in processes of their own share batch by batch, whatever happens to them.

`../reference/test_shared_scoring.py` shows without processes who gets which batch.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from prefd.daemon.errors import WorkerExit
from prefd.daemon.worker.job import RunningJob
from support import jobs_on_disk
from support import tiny_model as tiny
from support.child_processes import is_running
from support.fake_worker import wait_for
from support.rank_runs import count_done, start_phase, write_many_pairs

pytestmark = [pytest.mark.slow, pytest.mark.thorough]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that takes seconds for all pairs."""
    return tiny.build_llama(
        tmp_path_factory.mktemp("models") / "six", num_hidden_layers=6, hidden_size=256, intermediate_size=768
    )


def list_missing(job: RunningJob) -> list[bytes]:
    return job.store.missing([job.key(side) for each in job.examples for side in (each.chosen, each.rejected)])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("victims", [1, 2])
def test_the_first_rank_scores_what_lost_ones_have_not_and_the_report_names_each(
    tmp_path: Path, model: Path, number: signal.Signals, victims: int
) -> None:
    data = {"path": str(write_many_pairs(tmp_path / "pairs.jsonl"))}
    job = jobs_on_disk.make_job(tmp_path / "three", model=str(model), data=data, ranks=3)
    run = start_phase(job, "precompute", 20.0)
    others = run.other_ranks()
    wait_for(lambda: run.log.count("has loaded the reference") == 2 or run.process.poll() is not None, 120)
    for pid in others[:victims]:
        os.kill(pid, number)
    assert run.wait() == WorkerExit.DONE, run.log
    assert list_missing(job) == []
    outcome = job.run.outcome("precompute")
    assert outcome is not None
    end = "died of SIGKILL" if number == signal.SIGKILL else "said nothing for 20 s"
    expected = {f"rank {rank} (pid {pid}) {end}" for rank, pid in enumerate(others[:victims], 1)}
    assert {warning.partition(": ")[0] for warning in outcome.summary.warnings} == expected
    assert not any(map(is_running, others))


def test_a_stop_keeps_what_was_scored_and_leaves_no_rank(tmp_path: Path, model: Path) -> None:
    data = {"path": str(write_many_pairs(tmp_path / "pairs.jsonl"))}
    job = jobs_on_disk.make_job(tmp_path / "three", model=str(model), data=data, ranks=3)
    run = start_phase(job, "precompute")
    others = run.other_ranks()
    wait_for(lambda: count_done(job) > 0 or run.process.poll() is not None, 120)
    run.process.send_signal(signal.SIGTERM)
    assert run.wait() in (WorkerExit.STOPPED, WorkerExit.DONE), run.log
    assert len(list_missing(job)) < 600
    wait_for(lambda: not any(map(is_running, others)), 10)
