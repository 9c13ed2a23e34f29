"""Jobs of several ranks, in processes of their own: the numbers of one, whatever happens to a rank."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.errors import WorkerExit
from prefd.daemon.worker.job import RunningJob
from support import jobs_on_disk
from support.child_processes import is_running
from support.fake_worker import wait_for
from support.jobs_on_disk import adapter_digest, finished, metrics
from support.rank_runs import RankRun, require_same_numbers, start_phase
from support.thinned import thin

pytestmark = pytest.mark.slow
PHASES = ("precompute", "training")


def make_job(root: Path, model: Path, pairs: Path, ranks: int, **training: Any) -> RunningJob:
    settings = {"batch_size": 3, "epochs": 2} | training
    return jobs_on_disk.job(root, model, pairs, ranks=ranks, training=settings)


def wait_for_steps(run: RankRun, least: int) -> None:
    """Waits until so many steps are in the metrics."""
    wait_for(lambda: len(metrics(run.job)) >= least or run.process.poll() is not None, 240)
    assert run.process.poll() is None, run.log


def wait_for_end(pids: list[int]) -> None:
    wait_for(lambda: not any(map(is_running, pids)), 10)


def run_phases(phases: Sequence[str], *jobs: RunningJob) -> None:
    """Runs phases of jobs to their ends, the jobs side by side."""
    for phase in phases:
        for run in [start_phase(job, phase) for job in jobs]:
            assert run.wait() == WorkerExit.DONE, run.log


@pytest.mark.parametrize("scored_by", thin([1, 2], (1).__eq__))  # reference/test_shared_scoring.py has ranks that score
def test_two_ranks_give_the_numbers_of_one_and_each_its_share(
    tmp_path: Path, tiny_model: Path, pairs_file: Path, scored_by: int
) -> None:
    alone = finished(make_job(tmp_path / "alone", tiny_model, pairs_file, 1))
    if scored_by == 1:
        jobs_on_disk.run_precompute(make_job(tmp_path / "two", tiny_model, pairs_file, 1))
    job = make_job(tmp_path / "two", tiny_model, pairs_file, 2)
    run_phases(PHASES[2 - scored_by :], job)
    require_same_numbers(job, alone)
    scored, trained = job.run.outcome("precompute"), job.run.outcome("training")
    assert (scored is None) == (scored_by == 1), "scored here, or by the ranks"
    assert trained is not None
    assert trained.reason.endswith(" by 2 ranks")
    assert all(line["reduce_seconds"] > 0 for line in metrics(job))


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_rank_is_named_and_the_job_goes_on_from_the_last_step(
    tmp_path: Path, tiny_model: Path, pairs_file: Path, number: signal.Signals
) -> None:
    job = make_job(tmp_path / "two", tiny_model, pairs_file, 2, epochs=300, save_every=1000)
    jobs_on_disk.run_precompute(job)
    run = start_phase(job, "training", timeout=20.0)
    wait_for_steps(run, 2)
    (other,) = run.other_ranks()
    os.kill(other, number)
    assert run.wait() == WorkerExit.LOST_RANK, run.log
    words = "died of SIGKILL" if number == signal.SIGKILL else "said nothing for 20 s"
    last = run.log.splitlines()[-1]
    assert "rank 1 " in last
    assert words in last
    assert not is_running(other)
    reached = max(int(path.name.removeprefix("step-")) for path in job.run.checkpoints.glob("step-*"))
    assert reached >= metrics(job)[-1]["step"], "the last step that was taken whole is saved"


@pytest.mark.thorough
def test_two_jobs_side_by_side_have_the_bytes_of_each_other_whatever_mlx_finds_in_their_environment(
    tmp_path: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("MLX_RANK", "7"), ("MLX_HOSTFILE", "/nowhere"), ("MLX_WORLD_SIZE", "9")):
        monkeypatch.setenv(name, value)
    first, second = (make_job(tmp_path / name, tiny_model, pairs_file, 2) for name in ("first", "second"))
    run_phases(PHASES, first, second)
    assert adapter_digest(first) == adapter_digest(second)
    broken = make_job(tmp_path / "broken", tiny_model, pairs_file, 2)
    jobs_on_disk.run_precompute(broken)
    run = start_phase(broken, "training")
    wait_for_steps(run, 1)
    os.kill(run.other_ranks()[0], signal.SIGKILL)
    if run.wait() == WorkerExit.LOST_RANK:  # else it was at its end
        run_phases(PHASES, broken)
    assert adapter_digest(broken) == adapter_digest(first)


@pytest.mark.thorough
def test_three_ranks_then_two_then_one_end_as_one_alone(tmp_path: Path, tiny_model: Path, pairs_file: Path) -> None:
    settings = {"epochs": 12, "save_every": 1}
    alone = finished(make_job(tmp_path / "alone", tiny_model, pairs_file, 1, **settings))
    root = tmp_path / "many"
    jobs_on_disk.run_precompute(make_job(root, tiny_model, pairs_file, 1, **settings))
    for ranks, least in ((3, 2), (2, 6)):
        job = make_job(root, tiny_model, pairs_file, ranks, **settings)
        run = start_phase(job, "training")
        wait_for_steps(run, least)
        others = run.other_ranks()
        run.process.send_signal(signal.SIGTERM)
        assert run.wait() == WorkerExit.STOPPED, run.log
        wait_for_end(others)
    job = make_job(root, tiny_model, pairs_file, 1, **settings)
    jobs_on_disk.run_training(job)
    require_same_numbers(job, alone)


@pytest.mark.thorough
def test_the_end_of_the_first_rank_is_the_end_of_all(tmp_path: Path, tiny_model: Path, pairs_file: Path) -> None:
    job = make_job(tmp_path / "two", tiny_model, pairs_file, 3, epochs=100)
    jobs_on_disk.run_precompute(job)
    run = start_phase(job, "training")
    wait_for_steps(run, 1)
    others = run.other_ranks()
    run.process.kill()
    run.wait()
    wait_for_end(others)
