"""Reference passes whose layers are spread over ranks in processes of their own: here, over a stand-in for ssh, over a real ssh.

`test_pipeline.py` and `../reference/test_pipeline_opening.py` show the numbers, and what a lost rank leaves, without processes.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from prefd.daemon.errors import WorkerExit
from prefd.daemon.home.hosts import Host
from prefd.daemon.worker.job import RunningJob
from support import fake_ssh, jobs_on_disk
from support import tiny_model as tiny
from support.child_processes import is_running
from support.fake_worker import wait_for
from support.loopback_sshd import HOST, LoopbackSSHD, running_sshd
from support.rank_runs import RankRun, count_done, start_phase, write_many_pairs

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

Hosts = tuple[Host, ...]


def list_hosts(*names: str) -> Hosts:
    return tuple(Host(ssh=name, ips=["127.0.0.1"]) for name in ("localhost", *names))


@pytest.fixture
def sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackSSHD]:
    with running_sshd(tmp_path / "sshd", monkeypatch) as running:
        yield running


@pytest.fixture(params=["here", "over a stand-in for ssh", "over ssh"])
def hosts(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    """The machines of three ranks."""
    if request.param == "here":
        return ()
    if request.param == "over ssh":
        request.getfixturevalue("sshd")
        return list_hosts(HOST, HOST)
    fake_ssh.put_on_path(tmp_path / "ssh", monkeypatch)
    return list_hosts("studio-2", "studio-3")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_llama(
        tmp_path_factory.mktemp("models") / "six", num_hidden_layers=6, hidden_size=256, intermediate_size=768
    )


def make_job(root: Path, model: Path, pairs: Path, ranks: int = 3) -> RunningJob:
    reference = {"pipeline": True} if ranks > 1 else None
    data = {"path": str(pairs)}
    return jobs_on_disk.make_job(root, model=str(model), data=data, ranks=ranks, reference=reference)


def scores_of(job: RunningJob) -> list[Any]:
    return list(job.store.get([job.key(side) for each in job.examples for side in (each.chosen, each.rejected)]))


def start_and_catch(job: RunningJob, hosts: Hosts = (), timeout: float = 60.0) -> tuple[RankRun, list[int]]:
    """Starts a pass, and waits for its first scores."""
    run = start_phase(job, "precompute", timeout, hosts)
    others = run.other_ranks()
    wait_for(lambda: count_done(job) > 0 or run.process.poll() is not None, 240)
    assert run.process.poll() is None, run.log
    return run, others


def test_three_ranks_leave_the_numbers_of_one(tmp_path: Path, model: Path, pairs_file: Path, hosts: Hosts) -> None:
    alone = make_job(tmp_path / "alone", model, pairs_file, 1)
    jobs_on_disk.run_precompute(alone)
    job = make_job(tmp_path / "three", model, pairs_file)
    run = start_phase(job, "precompute", hosts=hosts)
    assert run.wait() == WorkerExit.DONE, run.log
    for mine, theirs in zip(scores_of(job), scores_of(alone), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    outcome = job.run.outcome("precompute")
    assert outcome is not None
    where = ["this machine", *(each.ssh for each in hosts[1:])] if hosts else ["this machine"] * 3
    assert [(each.begin, each.end, each.where) for each in outcome.summary.pipeline.stages] == [
        (0, 2, where[0]),
        (2, 4, where[1]),
        (4, 6, where[2]),
    ]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_middle_stage_is_named_and_the_next_try_scores_the_rest(
    tmp_path: Path, model: Path, number: signal.Signals, hosts: Hosts
) -> None:
    pairs = write_many_pairs(tmp_path / "pairs.jsonl")
    job = make_job(tmp_path / "three", model, pairs)
    run, others = start_and_catch(job, hosts, timeout=20.0)
    os.kill(others[0], number)
    assert run.wait() == WorkerExit.LOST_RANK, run.log
    last = run.log.splitlines()[-1]
    assert (f"rank 1 ({hosts[1].ssh})" if hosts else "rank 1 (pid ") in last
    assert ("died of SIGKILL" if number == signal.SIGKILL else "said nothing for 20 s") in last
    wait_for(lambda: not any(map(is_running, others)), 10)
    again = start_phase(job, "precompute", hosts=hosts)
    assert again.wait() == WorkerExit.DONE, again.log
    outcome = job.run.outcome("precompute")
    assert outcome is not None
    assert outcome.summary.cached > 0
    assert outcome.summary.cached + outcome.summary.scored == outcome.summary.completions


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_the_first_rank_is_the_end_of_all(tmp_path: Path, model: Path, number: signal.Signals) -> None:
    job = make_job(tmp_path / "three", model, write_many_pairs(tmp_path / "pairs.jsonl"))
    run, others = start_and_catch(job)
    others += [each.pid for pid in others for each in psutil.Process(pid).children(recursive=True)]
    run.process.send_signal(number)
    assert run.wait() == (WorkerExit.STOPPED if number == signal.SIGTERM else -number), run.log
    wait_for(lambda: not any(map(is_running, others)), 10)
    if number == signal.SIGTERM:
        assert job.store.missing([job.key(side) for each in job.examples for side in (each.chosen, each.rejected)])


@pytest.mark.parametrize("victim", ["rank", "session"])
def test_a_stage_that_dies_at_the_other_end_of_ssh_is_named_and_leaves_no_other(
    tmp_path: Path, model: Path, sshd: LoopbackSSHD, victim: str
) -> None:
    job = make_job(tmp_path / "three", model, write_many_pairs(tmp_path / "pairs.jsonl"))
    run, _ = start_and_catch(job, list_hosts(HOST, HOST))
    ranks, sessions = sshd.find_ranks(), sshd.find_sessions()
    assert len(ranks) == 2
    (ranks if victim == "rank" else sessions)[0].kill()
    assert run.wait() == WorkerExit.LOST_RANK, run.log
    assert f"({HOST}) was lost: ssh ended" in run.log.splitlines()[-1]
    wait_for(lambda: not any(is_running(each.pid) for each in ranks), 10)
