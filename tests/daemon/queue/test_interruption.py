"""What becomes of jobs that ran when their daemon, or the whole machine, went down."""

from __future__ import annotations

from prefd.daemon.jobs.table import Job
from prefd.daemon.machine.processes import ProcessId, boot_id
from prefd.daemon.queue.interruption import DAEMON_GONE, REBOOTED, judge_interruption
from support.supervisor_harness import Bench


def interrupt(bench: Bench, job: Job, boot: str) -> tuple[str, str]:
    """Let the job run with a worker of that boot, and be found without one."""
    bench.table.transition(job.id, "training")
    bench.table.set_worker(job.id, ProcessId(4711, 1.5, boot))
    state, reason = judge_interruption(bench.table, bench.table.get(job.id))
    bench.table.put_back(job.id, reason, otherwise=state)
    return state, reason


def test_a_daemon_that_was_killed_holds_nothing_up_however_often(bench: Bench) -> None:
    job = bench.add("a")
    assert [interrupt(bench, job, boot_id()) for _ in range(4)] == [("queued", DAEMON_GONE)] * 4
    assert interrupt(bench, job, "") == ("queued", DAEMON_GONE)  # where the system does not tell


def test_a_job_under_which_the_machine_went_down_twice_is_held_with_the_remedy(bench: Bench) -> None:
    job = bench.add("a")
    assert interrupt(bench, job, "a boot before") == ("queued", REBOOTED)
    assert interrupt(bench, job, boot_id()) == ("queued", DAEMON_GONE)
    state, reason = interrupt(bench, job, "another boot")
    assert state == "paused"
    assert "the machine restarted while it ran, 2 times" in reason
    assert f"`prefd resume {job.id}` lets it go on" in reason


def test_what_its_user_has_let_go_on_is_counted_anew(bench: Bench) -> None:
    job = bench.add("a")
    interrupt(bench, job, "first")
    interrupt(bench, job, "second")
    bench.table.resume(job.id)
    assert interrupt(bench, job, "third") == ("queued", REBOOTED)
