"""Kills a daemon and its worker in the middle of a training, as a loss of power does, and compares where the job ends."""

from __future__ import annotations

from prefd.daemon.health.selftest.playground import Playground
from prefd.daemon.home.layout import Home
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.worker_tasks.check_results import CheckResult

STEPS = 150
"""Steps of the job that is killed at its first checkpoint, of which it saves one in five."""


def check(playground: Playground, _: Home) -> CheckResult:
    """Run one job unbroken and another that is killed, and compare their adapters."""
    playground.start()
    whole = playground.submit("unbroken", STEPS)
    playground.wait_for_end(whole)
    killed = playground.submit("killed", STEPS)
    playground.wait_for_checkpoint(killed)
    playground.kill()
    if playground.read_job(killed).ended:
        return CheckResult(
            outcome="skipped", finding="the job had ended before it could be killed: this machine is fast"
        )
    last_checkpoint = max(
        int(path.name.removeprefix("step-")) for path in playground.run_folder(killed).checkpoints.glob("step-*")
    )
    playground.start()
    playground.wait_for_end(killed)
    numbers = {"steps": STEPS, "killed_after_checkpoint": last_checkpoint}
    same = read_adapter(playground.run_folder(whole)) == read_adapter(playground.run_folder(killed))
    if not same:
        return CheckResult(
            outcome="failed",
            finding=f"a job killed behind step {last_checkpoint} of {STEPS} went on and ended with another adapter",
            numbers=numbers,
            remedy="start jobs that were killed anew (prefd retry ID --fresh), and report this block",
        )
    finding = f"daemon and worker killed behind step {last_checkpoint} of {STEPS}: the job went on and ended with the same adapter, bit for bit"
    return CheckResult(outcome="ok", finding=finding, numbers=numbers)


def read_adapter(run: RunDir) -> bytes:
    """Read the bytes of a job's adapter."""
    return (run.adapter / "adapters.safetensors").read_bytes()
