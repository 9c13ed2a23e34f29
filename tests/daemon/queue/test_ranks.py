"""What stops a job of several ranks reaches all of them, beside the worker and on other machines; and commands show them."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from prefd.daemon.control.client import Client
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.processes import WORKER
from prefd.daemon.runs.run_folder import RunDir
from support import fake_ssh
from support.child_processes import is_running
from support.fake_worker import wait_for
from support.homes import invoke
from support.running_daemon import Place, process

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

SETTINGS = """[distributed]
hosts = [
    {ssh = "localhost", ips = ["127.0.0.1"]},
    {ssh = "studio-2", ips = ["127.0.0.1"]},
    {ssh = "localhost", ips = ["127.0.0.1"]},
]
"""
RANKS = "3 ranks, here and on studio-2"


def find_ranks(daemon: subprocess.Popen[str]) -> list[int]:
    """The processes of the job: its worker, and the other ranks."""
    below = psutil.Process(daemon.pid).children(recursive=True)
    return [each.pid for each in below if "prefd.daemon.worker" in each.cmdline()]


def stop(place: Place, daemon: subprocess.Popen[str], how: str) -> None:
    if how.startswith("SIG"):
        daemon.send_signal(signal.Signals[how])
        return
    Client(place.home).act_on_jobs(how, [1])


@pytest.mark.parametrize(
    ("how", "state"), [("pause", "paused"), ("cancel", "cancelled"), ("SIGTERM", "queued"), ("SIGKILL", "training")]
)
def test_whatever_stops_a_job_reaches_all_of_its_ranks(
    how: str,
    state: str,
    tmp_path: Path,
    home: Path,
    tiny_model: Path,
    pairs_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_ssh.put_on_path(tmp_path / "ssh", monkeypatch)
    place = Place(Home(home), tmp_path, WORKER)
    place.home.create()
    training = {"batch_size": 6, "epochs": 2000, "save_every": 100_000}
    spec = {"model": str(tiny_model), "data": {"path": str(pairs_file)}, "ranks": "all", "training": training}
    run = RunDir(place.home.job(1))
    with process(place, SETTINGS) as daemon:
        place.drop("ranks.yaml", json.dumps(spec))
        wait_for(lambda: len([line for line in run.read_metrics() if "ranks" in line]) >= 3, 240)
        ranks = find_ranks(daemon)
        assert len(ranks) == 3, run.log.read_text()
        assert RANKS in invoke(place.home, "jobs").stdout
        heading, below, *_ = invoke(place.home, "metrics", 1).stdout.splitlines()
        assert "ranks" in below
        assert "reduce_" in heading
        stop(place, daemon, how)
        wait_for(lambda: not any(map(is_running, ranks)), 20)
        if how.startswith("SIG"):
            daemon.wait(20)
        else:
            place.wait_for(state)  # type: ignore[arg-type]  # one of them
    assert [job.state for job in place.jobs()] == [state]
    assert run.find_saved_step() >= 3, "the last step is saved, whatever stops the job"
