from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from prefd.daemon.commands import watch
from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.states import State
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.timing import Timing
from support import homes
from support.homes import invoke


@pytest.fixture
def there(home: Path) -> Home:
    return Home(home)


def add_run(home: Home, owner: str) -> int:
    """A job of `prefd run`, in training."""
    home.create()
    with JobTable.open(home.database) as jobs:
        job = jobs.add(homes.make_spec(), source="/specs/ipo.yaml", owner=owner)
        jobs.transition(job.id, "precomputing")
        jobs.transition(job.id, "training")
    homes.run_folder(home, job)
    return job.id


def after(seconds: float, action: Callable[[], None]) -> threading.Thread:
    def later() -> None:
        time.sleep(seconds)
        action()

    thread = threading.Thread(target=later)
    thread.start()
    return thread


def end(home: Home, job_id: int, state: State, reason: str = "") -> None:
    with JobTable.open(home.database) as jobs:
        jobs.transition(job_id, state, reason)


def test_watch_of_a_done_job_ends_at_once(there: Home) -> None:
    homes.add_done(there)
    result = invoke(there, "watch", 1)
    assert result.exit_code == Exit.OK, result.output
    assert result.stdout.splitlines()[0] == "job 1  smol-ipo"
    assert str(there.job(1) / "adapter") in result.stdout


def test_watch_of_a_failed_job_gives_its_reason_and_exit_code(there: Home) -> None:
    homes.add_failed(there, reason="loss is not finite at step 3\nlower the learning rate")
    result = invoke(there, "watch", 1)
    assert result.exit_code == Exit.JOB_FAILED
    assert "failed: loss is not finite at step 3\n  lower the learning rate\n" in result.stdout


def test_watch_follows_the_running_job_to_its_end_in_plain_lines(there: Home) -> None:
    job_id = add_run(there, owner=f"run:{os.getpid()}")
    ending = after(0.2, lambda: end(there, job_id, "done"))
    result = invoke(there, "watch")
    ending.join()
    assert result.exit_code == Exit.OK
    assert "done" in result.stdout.splitlines()[-1]
    assert "\x1b" not in result.stdout


def test_watch_without_a_daemon_does_not_wait_for_ever(there: Home) -> None:
    homes.add_queued(there)
    result = invoke(there, "watch", 1)
    assert result.exit_code == Exit.NO_DAEMON
    assert "prefd start" in result.stderr


def test_watch_notices_that_a_run_was_killed(there: Home) -> None:
    add_run(there, owner=f"run:{dead_pid()}")
    result = invoke(there, "watch", 1)
    assert result.exit_code == Exit.NO_DAEMON
    assert "is gone" in result.stderr


def test_a_pid_that_another_process_has_now_is_not_the_run(there: Home) -> None:
    job_id = add_run(there, owner=f"run:{os.getpid()}")
    with JobTable.open(there.database) as jobs:
        assert watch.is_worked_on(there, jobs.get(job_id))
        jobs._db.execute("UPDATE jobs SET owner_started = owner_started - 60")
        assert not watch.is_worked_on(there, jobs.get(job_id))
    for command in ("watch", "wait"):
        result = invoke(there, command, job_id, timing=Timing(daemon_return=0))
        assert result.exit_code == Exit.NO_DAEMON
        assert f"the `prefd run` of job {job_id} (smol-ipo) is gone: it ended in state training" in result.stderr


def test_watch_waits_out_a_daemon_that_is_being_restarted(there: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = add_run(there, owner=f"run:{os.getpid()}")
    answers = iter([True, False])
    monkeypatch.setattr(watch, "is_worked_on", lambda home, job: next(answers, False))
    ending = after(0.3, lambda: end(there, job_id, "done"))
    assert invoke(there, "watch", 1).exit_code == Exit.OK
    ending.join()


def test_watch_with_nothing_to_watch(there: Home) -> None:
    homes.add_done(there)
    result = invoke(there, "watch")
    assert result.exit_code == Exit.NOT_FOUND
    assert "prefd jobs" in result.stderr


def test_wait_says_how_each_ended(there: Home) -> None:
    homes.add_done(there)
    homes.add_failed(there, name="bad", reason="out of memory")
    assert invoke(there, "wait", 1).exit_code == Exit.OK
    result = invoke(there, "wait", 1, 2)
    assert result.exit_code == Exit.JOB_FAILED
    assert result.stdout == "job 1 (smol-ipo) done\njob 2 (bad) failed: out of memory\n"
    document = json.loads(invoke(there, "wait", 1, 2, "--json").stdout)
    assert [job["state"] for job in document["jobs"]] == ["done", "failed"]


def test_wait_for_a_job_that_is_not_there(there: Home) -> None:
    homes.add_done(there)
    assert invoke(there, "wait", 1, 9).exit_code == Exit.NOT_FOUND


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid
