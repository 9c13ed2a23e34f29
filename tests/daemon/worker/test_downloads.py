"""A job's files that a cloud has taken off this Mac since its claim: asked for, waited for, and for no longer than is told."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.errors import WorkerExit
from prefd.daemon.machine.cloud import InCloud
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.local_files import list_local_files
from prefd.daemon.timing import Timing
from prefd.daemon.worker import phases
from prefd.daemon.worker.data.rows.placed import DataError
from prefd.daemon.worker.downloads import await_downloads
from prefd.daemon.worker.errors import Stopped
from support import fake_worker
from support.fake_cloud import FakeCloud, fake_cloud
from support.jobs_on_disk import make_job


@pytest.fixture
def clouds(monkeypatch: pytest.MonkeyPatch) -> FakeCloud:
    return fake_cloud(monkeypatch)


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    for folder in ("pairs", "pairs/more"):
        (tmp_path / folder).mkdir()
    for name in ("pairs/a.jsonl", "pairs/more/b.jsonl", "excluded.jsonl"):
        (tmp_path / name).write_text("{}\n")
    model = fake_worker.model_folder(tmp_path / "model")
    data = {"path": str(tmp_path / "pairs"), "exclude": str(tmp_path / "excluded.jsonl")}
    return JobSpec.model_validate({"model": str(model), "data": data})


def test_a_jobs_local_files_are_those_of_its_models_and_its_pairs(spec: JobSpec, tmp_path: Path) -> None:
    names = {str(path.relative_to(tmp_path)) for path in list_local_files(spec)}
    assert {"model/config.json", "pairs/a.jsonl", "pairs/more/b.jsonl", "excluded.jsonl"} <= names
    hub = JobSpec.model_validate({"model": "org/model", "data": {"path": "org/pairs"}})
    assert list(list_local_files(hub)) == []


@pytest.mark.parametrize("name", ["pairs/more/b.jsonl", "model/config.json", "excluded.jsonl"])
def test_what_comes_when_it_is_asked_for_is_waited_for(
    spec: JobSpec, tmp_path: Path, clouds: FakeCloud, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    clouds.online = True
    clouds.evict(tmp_path / name)
    await_downloads(spec, threading.Event(), Timing(download_look=0.001))
    assert clouds.asked[0] == tmp_path / name
    assert f"{tmp_path / name} is in the cloud and not on this Mac: it is asked for, and waited for" in caplog.text


def test_what_does_not_come_is_told_with_what_helps_and_a_stop_ends_the_wait(
    spec: JobSpec, tmp_path: Path, clouds: FakeCloud
) -> None:
    for name in ("a.jsonl", "more/b.jsonl"):
        clouds.evict(tmp_path / "pairs" / name)
    with pytest.raises(InCloud, match=r"a\.jsonl is in the cloud .* choose Download Now there \(and 1 more\)"):
        await_downloads(spec, threading.Event(), Timing(download=0.0, download_look=0.0))
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped, match=r"a\.jsonl"):
        await_downloads(spec, stop)


def test_a_worker_says_by_its_exit_that_its_job_goes_on_later(
    spec: JobSpec, tmp_path: Path, clouds: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path / "home", 1, model=spec.model, data={"path": str(tmp_path / "pairs" / "a.jsonl")})
    deadlock = OSError(errno.EDEADLK, os.strerror(errno.EDEADLK))

    def read_wrapped(*_: Any) -> Any:
        raise DataError("a.jsonl: cannot be read: Resource deadlock avoided") from deadlock

    def read_bare(*_: Any) -> Any:
        raise deadlock

    stop = threading.Event()
    for read in (read_wrapped, read_bare):  # it was taken away while it was read
        monkeypatch.setitem(phases.PHASES, "training", read)
        assert phases._run("training", job, stop) == WorkerExit.NO_FILE
        assert job.run.outcome("training") is None
    clouds.evict(tmp_path / "pairs" / "a.jsonl")
    assert phases._run("training", job, stop, Timing(download=0.0)) == WorkerExit.NO_FILE
    stop.set()
    assert phases._run("training", job, stop) == WorkerExit.STOPPED
