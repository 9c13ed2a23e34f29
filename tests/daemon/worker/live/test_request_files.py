"""The files by which a worker is asked: one that is missing among them is told of, and one that is not there yet is waited for."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from prefd.daemon.runs.live_folder import LiveFolder
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.live.request_files import RequestFiles
from prefd.daemon.worker.live.serving import Serving


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
