"""The files by which a worker is asked: one that is missing among them is told of, and one that is not there yet is waited for."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from prefd.daemon.runs.live_folder import SNAPSHOT, LiveFolder
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.live.request_files import RequestFiles
from prefd.daemon.worker.live.serving import Serving, is_anything_to_be_saved
from prefd.daemon.worker_tasks.live_requests import (
    FailedResult,
    ForwardRequest,
    GetInfoRequest,
    SaveSamplerRequest,
    SaveStateRequest,
)


def test_a_session_whose_state_was_deleted_fails_instead_of_waiting_for_requests_that_will_not_come(
    tmp_path: Path,
) -> None:
    folder = LiveFolder(tmp_path)
    folder.create()
    loaded: Any = SimpleNamespace(
        answering=SimpleNamespace(steps=SimpleNamespace(write_progress=lambda: None)),
        state=SimpleNamespace(is_due=lambda: False),
    )
    files = RequestFiles(folder, done=1)
    files.require_no_gap()
    folder.request(5).write_text("{}")
    with pytest.raises(JobError, match=r"request 2 is not in .* and request 5 is: .*begin anew"):
        Serving(loaded, files, threading.Event()).run()
    folder.request(2).write_text("{}")
    files.require_no_gap()


def test_once_the_client_is_gone_a_model_is_loaded_for_what_it_named_and_for_nothing_else(tmp_path: Path) -> None:
    """Where the model cannot be loaded, as one whose hub cannot be reached, the job of a client that is gone would stay for ever."""
    folder = LiveFolder(tmp_path)
    folder.create()
    files = RequestFiles(folder, done=0)
    requests = [GetInfoRequest(n=1), ForwardRequest(n=2, data=[]), SaveSamplerRequest(n=3, name=f"{SNAPSHOT}3")]
    for request in requests:
        folder.request(request.n).write_text(request.model_dump_json())
    assert not is_anything_to_be_saved(files)
    for kind in (SaveSamplerRequest, SaveStateRequest):
        folder.request(4).write_text(kind(n=4, name="kept").model_dump_json())
        assert is_anything_to_be_saved(files)


def test_a_request_of_which_its_client_was_told_that_it_failed_is_not_done_after_all(tmp_path: Path) -> None:
    """`prefd serve` says so of what waits when its job is cancelled; `prefd retry` may run the job again."""
    folder, stop = LiveFolder(tmp_path), threading.Event()
    folder.create()
    folder.request(1).write_text(ForwardRequest(n=1, data=[]).model_dump_json())
    failed = FailedResult(n=1, category="server", error="job 1 cancelled").model_dump_json()
    folder.result(1).write_text(failed)
    loaded: Any = SimpleNamespace(
        answering=SimpleNamespace(steps=SimpleNamespace(write_progress=lambda: None)),
        state=SimpleNamespace(is_due=stop.set),
    )
    files = RequestFiles(folder, done=0)
    Serving(loaded, files, stop).run()
    assert (files.done, folder.result(1).read_text()) == (1, failed)
