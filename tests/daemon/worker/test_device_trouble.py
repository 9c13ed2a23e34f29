"""What another rank says that the device, or the want of memory, has ended is that of the whole job: no crash, and no job's own fault."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.errors import WorkerExit
from prefd.daemon.worker import phases
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.ranks.mate import LostRank
from support.jobs_on_disk import make_job

METAL = "[METAL] Command buffer execution failed:"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (f"RuntimeError: {METAL} Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)", WorkerExit.NO_MEMORY),
        ("MemoryError: std::bad_alloc", WorkerExit.NO_MEMORY),
        ("MemoryError", WorkerExit.NO_MEMORY),
        (f"RuntimeError: {METAL} Impacting Interactivity", WorkerExit.DEVICE_TROUBLE),
        ("RuntimeError: shapes (3) and (4) cannot be broadcast", WorkerExit.LOST_RANK),
        ("row 7 says 'RuntimeError: out of memory', which is no label", WorkerExit.LOST_RANK),
    ],
)  # fmt: skip
def test_a_rank_that_tells_of_it_ends_the_worker_as_its_own_would(
    words: str, code: WorkerExit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = LostRank(f"rank 1 (studio-2) failed: {words} (the traceback is in worker.log)")

    def lose(*_: Any) -> Any:
        raise lost

    def lose_at_its_start(*_: Any) -> Any:
        raise JobError(str(lost)) from lost

    job = make_job(tmp_path / "home", 1, model=str(tmp_path), data={"path": str(tmp_path)})
    monkeypatch.setitem(phases.PHASES, "training", lose)
    assert phases._run("training", job, threading.Event()) == code
    assert job.run.outcome("training") is None
    monkeypatch.setitem(phases.PHASES, "training", lose_at_its_start)
    assert phases._run("training", job, threading.Event()) == (
        WorkerExit.FAILED if code == WorkerExit.LOST_RANK else code
    )
