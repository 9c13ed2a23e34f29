"""Stops a daemon in the middle of a training, and measures how long that takes and what is kept."""

from __future__ import annotations

import time

from prefd.daemon.health.selftest.playground import Playground
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.worker_tasks.check_results import CheckResult

STEPS = 100_000
"""More than the job can take before it is stopped."""


def check(playground: Playground, _: Home) -> CheckResult:
    """Stop the daemon while a job trains; the job must wait to go on, from a checkpoint."""
    playground.start()
    job = playground.submit("stopped", STEPS)
    playground.wait_for_checkpoint(job)
    before = count_steps(playground, job)
    began = time.monotonic()
    has_ended = playground.stop()
    seconds = time.monotonic() - began
    state, saved_step = playground.read_job(job).state, count_steps(playground, job)
    with JobTable.open(playground.home.database) as table:
        table.request_cancel(job)
    numbers = {"seconds": round(seconds, 2), "saved_at_step": saved_step}
    remedy = "give stop_grace_seconds more time in config.toml, and report this block"
    if not has_ended:
        finding = f"the daemon did not end within {seconds:.0f} s of being told to stop"
        return CheckResult(outcome="failed", finding=finding, numbers=numbers, remedy=remedy)
    if state != "queued" or saved_step < before:
        finding = f"the daemon ended after {seconds:.1f} s, and its job is {state}, saved at step {saved_step}"
        return CheckResult(outcome="failed", finding=finding, numbers=numbers, remedy=remedy)
    finding = (
        f"a daemon that trains ends {seconds:.1f} s after it is told to; its job is kept, saved at step {saved_step}"
    )
    if seconds > playground.timing.stop_check:
        return CheckResult(outcome="failed", finding=f"slow: {finding}", numbers=numbers, remedy=remedy)
    return CheckResult(outcome="ok", finding=finding, numbers=numbers)


def count_steps(playground: Playground, job: int) -> int:
    """Return the step of the newest checkpoint, 0 without one."""
    folders = playground.run_folder(job).checkpoints.glob("step-*")
    return max((int(path.name.removeprefix("step-")) for path in folders), default=0)
