"""Why a worker ended that has lost another rank."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from prefd.daemon.errors import WorkerExit
from prefd.daemon.home.worker_limits import WorkerLimits
from prefd.daemon.queue.memory_watch import MemoryWatch
from prefd.daemon.queue.phase_end import EndedWorker
from prefd.daemon.specs.training_spec import TrainingSpec


@pytest.mark.parametrize(
    ("lost", "before", "free", "cause"),
    [
        ("rank 1 (pid 7) died of SIGKILL", "", 0.01, "a rank was killed, probably for want of memory (1.0% of it was free)"),
        ("rank 1 (pid 7) died of SIGABRT", "terminate called after throwing 'std::bad_alloc'\n", 0.9, "ran out of memory (std::bad_alloc)"),
        ("rank 1 (pid 7) died of SIGKILL", "", 0.9, None),
        ("rank 1 (pid 7) died of SIGABRT", "", 0.01, None),
        ("rank 1 (studio-2) died of SIGKILL", "", 0.01, None),
        ("rank 1 (pid 7) said nothing for 120 s", "", 0.01, None),
    ],
)  # fmt: skip
def test_a_rank_of_this_machine_that_memory_ran_out_for_is_no_crash(
    tmp_path: Path, lost: str, before: str, free: float, cause: str | None
) -> None:
    log = tmp_path / "worker.log"
    log.write_text(f"{before}2026-11-29 12:00:00,000 ERROR {lost}\n")
    table: Any = SimpleNamespace(spec=lambda _: SimpleNamespace(training=TrainingSpec()))
    memory = MemoryWatch(os.getpid(), free=free, has_ranks=True)
    end = EndedWorker(table, 1, False, None, WorkerExit.LOST_RANK, memory, WorkerLimits(), log, 0, tmp_path / "c.toml")
    kind, reason = end.judge()
    assert kind == ("crashed" if cause is None else "no memory")
    assert lost in reason
    assert cause is None or cause in reason
