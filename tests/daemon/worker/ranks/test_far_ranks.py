"""Jobs with a rank on another machine, which ssh leads to: a stand-in runs it here, in an environment of its own."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from prefd.daemon.errors import WorkerExit
from prefd.daemon.home.hosts import Host
from prefd.daemon.worker.job import RunningJob
from support import fake_ssh, jobs_on_disk
from support.child_processes import is_running
from support.fake_ssh import FakeSSH
from support.fake_worker import wait_for
from support.jobs_on_disk import finished, metrics
from support.rank_runs import RankRun, require_same_numbers, start_phase

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

HOSTS = (Host(ssh="localhost", ips=["127.0.0.1"]), Host(ssh="studio-2", ips=["127.0.0.1"]))
OTHER_VERSION = """from importlib import metadata
own = metadata.version
metadata.version = lambda name: "0.31.3" if name == "mlx-lm" else own(name)
"""
OTHER_ROUNDING = """import zlib
own = zlib.crc32
zlib.crc32 = lambda data, value=0: own(data, value) ^ 1
"""


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSSH:
    return fake_ssh.put_on_path(tmp_path / "ssh", monkeypatch)


def make_job(root: Path, model: Path, pairs: Path, ranks: int = 2, **training: Any) -> RunningJob:
    settings = {"batch_size": 3, "epochs": 2} | training
    return jobs_on_disk.job(root, model, pairs, ranks=ranks, training=settings)


def run_to_end(job: RunningJob, phase: str, hosts: tuple[Host, ...] = HOSTS, timeout: float = 60.0) -> tuple[int, str]:
    """Its exit code and its log."""
    run = start_phase(job, phase, timeout, hosts)
    return run.wait(), run.log


def patch_python(tmp_path: Path, code: str) -> str:
    """The shell that has Python run this code first."""
    patched = tmp_path / "patched"
    patched.mkdir()
    (patched / "sitecustomize.py").write_text(code)
    return f"export PYTHONPATH={patched}:$PYTHONPATH"


def wait_for_steps(run: RankRun, least: int) -> None:
    wait_for(lambda: len(metrics(run.job)) >= least or run.process.poll() is not None, 240)
    assert run.process.poll() is None, run.log


def test_a_rank_over_ssh_gives_the_numbers_of_one_process(
    tmp_path: Path, tiny_model: Path, pairs_file: Path, ssh: FakeSSH
) -> None:
    alone = finished(make_job(tmp_path / "alone", tiny_model, pairs_file, 1))
    there = tmp_path / "there" / "models"
    shutil.copytree(tiny_model, there / tiny_model.name)
    hosts = (HOSTS[0], HOSTS[1].model_copy(update={"folders": {str(tiny_model.parent): str(there)}}))
    job = make_job(tmp_path / "far", tiny_model, pairs_file)
    for phase in ("precompute", "training"):
        code, log = run_to_end(job, phase, hosts)
        assert code == WorkerExit.DONE, log
    require_same_numbers(job, alone)
    outcome = job.run.outcome("training")
    assert outcome is not None
    assert outcome.reason.endswith(" by 2 ranks, here and on studio-2")
    assert len(ssh.calls) == 2
    assert "[studio-2] " in job.run.log.read_text()


def test_a_machine_that_ssh_does_not_reach_is_named_and_scoring_goes_on_without_it(
    tmp_path: Path, tiny_model: Path, pairs_file: Path, ssh: FakeSSH
) -> None:
    ssh.refuse("studio-2")
    job = make_job(tmp_path / "far", tiny_model, pairs_file)
    reason = "rank 1 (studio-2) was lost: ssh ended: studio-2: Permission denied (publickey)."
    assert run_to_end(job, "precompute")[0] == WorkerExit.DONE
    scored = job.run.outcome("precompute")
    assert scored is not None
    assert scored.summary.warnings == [f"{reason}: the others have scored without it"]
    code, log = run_to_end(job, "training")
    assert code == WorkerExit.LOST_RANK
    assert log.splitlines()[-1].endswith(reason)


def test_a_machine_that_says_nothing_is_given_up(
    tmp_path: Path, tiny_model: Path, pairs_file: Path, ssh: FakeSSH
) -> None:
    job = make_job(tmp_path / "far", tiny_model, pairs_file)
    jobs_on_disk.run_precompute(job)
    ssh.behave("studio-2", "exec sleep 600")
    code, log = run_to_end(job, "training", timeout=3.0)
    assert code == WorkerExit.LOST_RANK
    assert log.splitlines()[-1].endswith("rank 1 (studio-2) said nothing for 3 s")
    assert not any(map(is_running, ssh.pids))


def test_other_versions_and_other_weights_are_refused_with_both_values(
    tmp_path: Path, tiny_model: Path, pairs_file: Path, ssh: FakeSSH
) -> None:
    job = make_job(tmp_path / "far", tiny_model, pairs_file)
    jobs_on_disk.run_precompute(job)
    ssh.behave("studio-2", patch_python(tmp_path, OTHER_VERSION))
    code, log = run_to_end(job, "training")
    assert code == WorkerExit.FAILED
    assert "studio-2 has another mlx-lm: 0.31.3 there, 0.32" in log.splitlines()[-1]
    ssh.behave("studio-2", "")
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    (weights,) = other.glob("*.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    folders = {str(tiny_model): str(other)}
    code, log = run_to_end(job, "training", (HOSTS[0], HOSTS[1].model_copy(update={"folders": folders})))
    assert code == WorkerExit.FAILED
    assert f"rank 1: studio-2: {other} has other weights than {tiny_model} here" in log.splitlines()[-1]


def test_machines_that_round_differently_go_on_with_the_first_ones_weights(
    tmp_path: Path, tiny_model: Path, pairs_file: Path, ssh: FakeSSH
) -> None:
    alone = finished(make_job(tmp_path / "alone", tiny_model, pairs_file, 1))
    job = make_job(tmp_path / "far", tiny_model, pairs_file)
    jobs_on_disk.run_precompute(job)
    ssh.behave("studio-2", patch_python(tmp_path, OTHER_ROUNDING))  # its checksums say so at least
    code, log = run_to_end(job, "training")
    assert code == WorkerExit.DONE, log
    require_same_numbers(job, alone)
    outcome = job.run.outcome("training")
    assert outcome is not None
    steps = len(metrics(alone))
    assert f"the machines rounded {steps} steps differently, and went on with the first one's weights" in str(
        outcome.summary.warnings
    )


@pytest.mark.parametrize("victim", ["ssh", "rank"])
def test_a_rank_that_dies_there_is_named_with_its_machine(
    tmp_path: Path, tiny_model: Path, pairs_file: Path, ssh: FakeSSH, victim: str
) -> None:
    job = make_job(tmp_path / "far", tiny_model, pairs_file, epochs=300, save_every=1000)
    jobs_on_disk.run_precompute(job)
    ssh.behave("studio-2", "STAYS=1" if victim == "rank" else "")
    run = start_phase(job, "training", hosts=HOSTS)
    wait_for_steps(run, 2)
    (pid,) = run.other_ranks()
    children = psutil.Process(pid).children(recursive=True)
    os.kill(children[-1].pid if victim == "rank" else pid, signal.SIGKILL)
    assert run.wait() == WorkerExit.LOST_RANK, run.log
    words = "died of SIGKILL" if victim == "rank" else "was lost: its ssh died of SIGKILL"
    assert f"rank 1 (studio-2) {words}" in run.log.splitlines()[-1]
    assert not any(map(is_running, [pid, *(each.pid for each in children)]))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_the_first_rank_reaches_the_other_machine(
    tmp_path: Path, tiny_model: Path, pairs_file: Path, ssh: FakeSSH, number: signal.Signals
) -> None:
    job = make_job(tmp_path / "far", tiny_model, pairs_file, epochs=300, save_every=1000)
    jobs_on_disk.run_precompute(job)
    run = start_phase(job, "training", hosts=HOSTS)
    wait_for_steps(run, 1)
    others = run.other_ranks()
    run.process.send_signal(number)
    assert run.wait() == (WorkerExit.STOPPED if number == signal.SIGTERM else -number), run.log
    wait_for(lambda: not any(map(is_running, others)), 10)
