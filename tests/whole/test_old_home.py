"""A home that prefd 0.1.0 left when it was killed goes on under the present prefd.

tests/data/make_old_home.py made it, with the code of 0.1.0: job 1 is done, 2 failed, 3 was cut off in its training after the
checkpoint of step 6, 4 waits, 5 was cancelled, one spec was refused, and one lies in the watched folder. When a format
changes, this home stays as it is: what it takes to go on from it belongs into the code.
"""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from prefd.cache.store import ReferenceCache
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.states import ENDED
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.runs.run_folder import RunDir
from support import fake_worker, homes
from support.once import make_once

pytestmark = pytest.mark.slow
ARCHIVE = Path(__file__).parents[1] / "data" / "home-0.1.0.tar.gz"
STATES = {1: "done", 2: "failed", 3: "training", 4: "queued", 5: "cancelled"}
STEPS = 90
COMPLETIONS = 16


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive, with the paths in it changed from where it was made to where it is now."""
    root = tmp_path_factory.mktemp("old")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(root, filter="data")
    before = (root / "root").read_text()
    written = [
        *root.glob("home/runs/*/*.json"),
        *root.glob("home/jobs/*.json"),
        *root.glob("home/cache/refs/*/zarr.json"),
    ]
    for path in written:
        path.write_text(path.read_text().replace(before, str(root)))
    with sqlite3.connect(root / "home" / "prefd.sqlite3") as database:
        database.execute("UPDATE jobs SET spec = replace(spec, ?, ?)", (before, str(root)))
    database.close()
    return root


@pytest.fixture
def old(unpacked: Path, tmp_path: Path) -> Home:
    return Home(shutil.copytree(unpacked / "home", tmp_path / "home"))


@pytest.fixture(scope="module")
def gone_on(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The home after a daemon of the present prefd has run all that waits in it."""
    folder = tmp_path_factory.mktemp("gone-on")
    return Home(Path(make_once(tmp_path_factory, "old-home", lambda: str(run_what_waits(unpacked, folder).root))))


def run_what_waits(unpacked: Path, folder: Path) -> Home:
    home = Home(shutil.copytree(unpacked / "home", folder / "home"))
    home.config.write_text("parallel = 2\n" + home.config.read_text())  # both cores: three jobs have five workers
    command = [sys.executable, "-c", "from prefd.daemon.cli import cli; cli()", "--home", home.root, "start"]
    with home.log.open("ab") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        fake_worker.wait_for(lambda: all_ended(home), 120)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(30) == 0
    finally:
        daemon.kill()
        daemon.wait()
    return home


def prefd(home: Home, *words: object) -> str:
    done = homes.invoke(home, *words)
    assert done.exit_code == 0, done.output
    return done.stdout


def document(home: Home, *words: object) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(prefd(home, *words, "--json"))
    return value


def states(home: Home) -> dict[int, str]:
    return {job["id"]: job["state"] for job in document(home, "jobs")["jobs"]}


def all_ended(home: Home) -> bool:
    """Whether the dropped spec became a job, and none of the jobs has anything left to do."""
    time.sleep(0.2)
    with JobTable.open_readonly(home.database) as table:
        jobs = table.list()
    return len(jobs) == len(STATES) + 1 and all(job.state in ENDED for job in jobs)


def test_jobs_are_read_without_a_daemon(old: Home) -> None:
    assert states(old) == STATES
    assert document(old, "show", 1)["adapter"]
    assert "none of its 1 rows can be used" in document(old, "show", 2)["job"]["reason"]
    assert document(old, "show", 4)["spec"]["loss"] == {"name": "sigmoid"}
    assert len(document(old, "metrics", 1)["train"]) == 3


def test_cached_numbers_are_whole(old: Home) -> None:
    prefd(old, "cache", "verify", "--deep")
    (reference,) = ReferenceCache.open(old.cache).references()
    assert reference.entries == COMPLETIONS


def test_each_job_that_waited_is_done(gone_on: Home) -> None:
    assert states(gone_on) == STATES | {3: "done", 4: "done", 6: "done"}
    assert not any(gone_on.jobs.glob("*.json")), "the spec in the watched folder was claimed"


@pytest.mark.parametrize("job_id", [3, 4, 6])
def test_nothing_is_scored_again(gone_on: Home, job_id: int) -> None:
    outcome = RunDir(gone_on.job(job_id)).outcome("precompute")
    assert outcome is not None
    assert (outcome.summary.scored, outcome.summary.cached) == (0, COMPLETIONS)


def test_interrupted_training_goes_on_from_its_checkpoint(gone_on: Home) -> None:
    run = RunDir(gone_on.job(3))
    assert "going on from the checkpoint of step 6" in run.log.read_text()
    assert [row["step"] for row in run.read_metrics() if "loss" in row] == list(range(1, STEPS + 1))
    shown = document(gone_on, "show", 3)
    assert shown["job"]["reason"].startswith(f"trained {STEPS} steps on 6 pairs")
    assert shown["frozen"]["versions"]["prefd"] == "0.1.0"
    assert (run.adapter / "adapters.safetensors").stat().st_size > 1000


def test_history_of_the_old_daemon_is_kept(gone_on: Home, old: Home) -> None:
    for job_id in STATES:
        before = document(old, "show", job_id)["history"]
        assert document(gone_on, "show", job_id)["history"][: len(before)] == before
