"""What stops a job of several ranks reaches all of them, beside the worker and on other machines; and commands show them.

`test_phase_runner.py` and `../worker/ranks/test_whole_jobs.py` show in less time what a worker of ranks ends with, and what becomes of that.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from prefd.daemon.control.client import Client
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.machine.interpreter import WORKER
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


def start_job(place: Place, model: Path, pairs: Path) -> RunDir:
    """Drops a job of three ranks that trains for long."""
    training = {"batch_size": 6, "epochs": 2000, "save_every": 100_000}
    spec = {"model": str(model), "data": {"path": str(pairs)}, "ranks": "all", "training": training}
    place.drop("ranks.yaml", json.dumps(spec))
    return RunDir(place.home.job(1))


def count_steps(run: RunDir) -> int:
    return len([line for line in run.read_metrics() if "ranks" in line])


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
    with process(place, SETTINGS) as daemon:
        run = start_job(place, tiny_model, pairs_file)
        wait_for(lambda: count_steps(run) >= 3, 240)
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


def test_a_rank_that_dies_is_named_in_the_jobs_history_and_the_job_goes_on_with_all_of_them(
    tmp_path: Path, home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_ssh.put_on_path(tmp_path / "ssh", monkeypatch)
    place = Place(Home(home), tmp_path, WORKER)
    place.home.create()

    def list_reasons() -> list[str]:
        with JobTable.open_readonly(place.home.database) as table:
            return [event.reason for event in table.history(1)]

    with process(place, SETTINGS) as daemon:
        run = start_job(place, tiny_model, pairs_file)
        wait_for(lambda: count_steps(run) >= 3, 240)
        far = [pid for pid in find_ranks(daemon) if "far-rank" in psutil.Process(pid).cmdline()]
        psutil.Process(far[0]).kill()
        killed_at = time.monotonic()
        words = "rank 1 (studio-2) was lost: its ssh died of SIGKILL"
        wait_for(lambda: any(words in reason for reason in list_reasons()), 20)
        seconds = time.monotonic() - killed_at
        steps = count_steps(run)
        wait_for(lambda: count_steps(run) > steps, 240)
        assert len(find_ranks(daemon)) == 3
        Client(place.home).act_on_jobs("cancel", [1])
        place.wait_for("cancelled")
    assert seconds < 10, "5 on a machine of its own"
