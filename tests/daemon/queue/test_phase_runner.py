"""What a worker had kept of its last step outlives it, whatever ends it."""

from __future__ import annotations

import sys

from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.step_memory import SEAL_BYTES, verify_rescued
from support.supervisor_harness import Bench

DIES = """
import os
from prefd.daemon.runs.step_memory import StepMemory
memory = StepMemory.inherit()
memory.reserve(100)
for step in (6, 7):
    memory.write(step, lambda slot: slot.write(b"state %d" % step))
os.abort()
"""


def test_the_last_step_of_a_worker_that_aborts_is_written_where_its_checkpoints_are_older(bench: Bench) -> None:
    bench.worker = (sys.executable, "-P", "-c", DIES)
    job = bench.add("abort", loss={"name": "cpo"})
    run = RunDir(bench.home.job(job.id))
    (run.checkpoints / "step-00000006").mkdir(parents=True)
    assert bench.run(job).reason.startswith("crashed 3 times")
    assert verify_rescued(run.rescued_step) == 7
    assert run.rescued_step.read_bytes()[:-SEAL_BYTES] == b"state 7"
    run.rescued_step.unlink()
    (run.checkpoints / "step-00000007").mkdir()
    bench.table.retry(job.id)
    assert bench.run(job).reason.startswith("crashed 3 times")
    assert not run.rescued_step.exists()
