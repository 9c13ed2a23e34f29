"""Jobs with a rank at the other end of a real ssh and sshd, over loopback."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from prefd.daemon.errors import WorkerExit
from prefd.daemon.home.hosts import Host
from prefd.daemon.worker.job import RunningJob
from support import jobs_on_disk
from support.child_processes import is_running
from support.fake_worker import wait_for
from support.jobs_on_disk import finished, metrics
from support.loopback_sshd import HOST, LoopbackSSHD, running_sshd
from support.rank_runs import RankRun, require_same_numbers, start_phase

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

HOSTS = (Host(ssh="localhost", ips=["127.0.0.1"]), Host(ssh=HOST, ips=["127.0.0.1"]))


@pytest.fixture
def sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackSSHD]:
    with running_sshd(tmp_path / "ssh", monkeypatch) as running:
        yield running


def make_job(root: Path, model: Path, pairs: Path, ranks: int, epochs: int) -> RunningJob:
    settings = {"batch_size": 3, "epochs": epochs, "save_every": 1000}
    return jobs_on_disk.job(root, model, pairs, ranks=ranks, training=settings)


def start_training(root: Path, model: Path, pairs: Path) -> RankRun:
    """A training that has taken two steps."""
    job = make_job(root, model, pairs, 2, 400)
    jobs_on_disk.run_precompute(job)
    run = start_phase(job, "training", hosts=HOSTS)
    wait_for(lambda: len(metrics(job)) >= 2 or run.process.poll() is not None, 240)
    assert run.process.poll() is None, run.log
    return run


def test_a_rank_over_a_real_ssh_gives_the_numbers_of_one_process(
    tmp_path: Path, tiny_model: Path, pairs_file: Path, sshd: LoopbackSSHD
) -> None:
    alone = finished(make_job(tmp_path / "alone", tiny_model, pairs_file, 1, 2))
    job = make_job(tmp_path / "far", tiny_model, pairs_file, 2, 2)
    for phase in ("precompute", "training"):
        run = start_phase(job, phase, hosts=HOSTS)
        assert run.wait() == WorkerExit.DONE, run.log
    require_same_numbers(job, alone)
    wait_for(lambda: not sshd.find_ranks(), 10)


@pytest.mark.parametrize("victim", ["rank", "ssh", "session"])
def test_whatever_dies_between_two_machines_is_named_and_nothing_goes_on(
    tmp_path: Path, tiny_model: Path, pairs_file: Path, sshd: LoopbackSSHD, victim: str
) -> None:
    run = start_training(tmp_path / "far", tiny_model, pairs_file)
    (rank,) = sshd.find_ranks()
    pids = {"rank": rank.pid, "ssh": run.other_ranks()[0], "session": sshd.find_sessions()[0].pid}
    psutil.Process(pids[victim]).kill()
    assert run.wait() == WorkerExit.LOST_RANK, run.log
    last = run.log.splitlines()[-1]
    assert f"rank 1 ({HOST}) was lost" in last
    assert ("its ssh died of SIGKILL" in last) == (victim == "ssh")
    wait_for(lambda: not is_running(rank.pid), 10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_the_first_rank_is_the_end_there(
    tmp_path: Path, tiny_model: Path, pairs_file: Path, sshd: LoopbackSSHD, number: signal.Signals
) -> None:
    run = start_training(tmp_path / "far", tiny_model, pairs_file)
    (rank,) = sshd.find_ranks()
    run.process.send_signal(number)
    assert run.wait() == (WorkerExit.STOPPED if number == signal.SIGTERM else -number), run.log
    wait_for(lambda: not is_running(rank.pid), 10)


def test_a_connection_that_is_cut_without_a_word_is_noticed(
    tmp_path: Path, tiny_model: Path, pairs_file: Path, sshd: LoopbackSSHD
) -> None:
    run = start_training(tmp_path / "far", tiny_model, pairs_file)
    (rank,) = sshd.find_ranks()
    stopped = [*sshd.find_sessions(), rank]
    for each in stopped:
        each.suspend()
    assert run.wait() == WorkerExit.LOST_RANK, run.log
    assert f"rank 1 ({HOST}) was lost: ssh ended: Timeout, server 127.0.0.1 not responding." in run.log.splitlines()[-1]
