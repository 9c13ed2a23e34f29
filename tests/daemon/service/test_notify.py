import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config, NotifyConfig
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.service import notify
from prefd.daemon.service.notify import Notifier
from prefd.daemon.timing import Timing
from support import homes
from support.quick_timing import QUICK_TIMING

WRITES = """
import json, os, sys, time
mine = {name: value for name, value in os.environ.items() if name.startswith("PREFD_")}
mine["stdin"] = json.load(sys.stdin)
mine["cwd"] = os.getcwd()
with open(sys.argv[1], "ab", buffering=0) as file:  # a line at once: the test reads it meanwhile
    file.write(json.dumps(mine).encode() + b"\\n")
"""


@pytest.fixture
def ready_home(home: Path) -> Home:
    ready_home = Home(home)
    ready_home.create()
    return ready_home


def read_notices(home: Home) -> list[dict[str, Any]]:
    path = home.root / "told"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def command(home: Home, code: str = WRITES, **more: Any) -> NotifyConfig:
    return NotifyConfig(command=[sys.executable, "-S", "-c", code, str(home.root / "told")], **more)


def notified(
    home: Home,
    config: NotifyConfig,
    enough: Callable[[], bool],
    seconds: float = 10.0,
    timing: Timing = QUICK_TIMING,
) -> None:
    """A notifier on `home`, as a daemon runs it, until `enough()`."""

    async def run(table: JobTable) -> None:
        task = asyncio.create_task(Notifier(home, config, table, timing).run())
        deadline = time.monotonic() + seconds
        while not enough():
            assert not task.done()
            assert time.monotonic() < deadline, "it did not happen in time"
            await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with JobTable.open(home.database) as table:
        asyncio.run(run(table))


def in_a_while() -> Callable[[], bool]:
    began = time.monotonic()
    return lambda: time.monotonic() - began > 0.3


def begun(home: Home, config: NotifyConfig) -> None:
    """A first daemon has been here, and nothing had ended."""
    record = notify.LastNotified(home)
    notified(home, config, lambda: record.read() is not None)


def test_the_end_of_a_job_is_told_with_all_there_is_to_know(ready_home: Home) -> None:
    begun(ready_home, command(ready_home))
    reason = "no row can be used\nlook at column `chosen`"
    homes.add_failed(ready_home, reason=reason, name="bad job")
    homes.add_done(ready_home)
    notified(ready_home, command(ready_home), lambda: len(read_notices(ready_home)) == 2)
    first, second = read_notices(ready_home)
    assert {name: value for name, value in first.items() if name.startswith("PREFD_JOB")} == {
        "PREFD_JOB_ID": "1",
        "PREFD_JOB_NAME": "bad job",
        "PREFD_JOB_STATE": "failed",
        "PREFD_JOB_REASON": reason,
    }
    assert first["PREFD_RUN_DIR"] == first["cwd"] == str(ready_home.job(1))
    assert first["PREFD_HOME"] == str(ready_home.root)
    shown = json.loads(homes.invoke(ready_home, "show", 1, "--json").stdout)
    assert first["stdin"] | {"unattended": ""} == shown
    assert (second["PREFD_JOB_STATE"], second["stdin"]["training"]["ok"]) == ("done", True)
    assert int(first["PREFD_EVENT_ID"]) < int(second["PREFD_EVENT_ID"])


def test_each_end_is_told_once_over_restarts_and_one_that_came_while_no_daemon_ran_too(ready_home: Home) -> None:
    begun(ready_home, command(ready_home))
    for number in range(4):
        homes.add_done(
            ready_home, name=f"job-{number}"
        )  # while no notifier runs: as if the daemon had been killed at once
        notified(ready_home, command(ready_home), lambda wanted=number + 1: len(read_notices(ready_home)) >= wanted)  # type: ignore[misc]
    notified(ready_home, command(ready_home), in_a_while())
    assert [each["PREFD_JOB_ID"] for each in read_notices(ready_home)] == ["1", "2", "3", "4"]


def test_what_ended_before_the_command_was_configured_is_not_told(ready_home: Home) -> None:
    homes.add_done(ready_home, name="old")
    begun(ready_home, command(ready_home))
    homes.add_done(ready_home, name="new")
    notified(ready_home, command(ready_home), lambda: len(read_notices(ready_home)) == 1)
    assert read_notices(ready_home)[0]["PREFD_JOB_NAME"] == "new"
    with JobTable.open(ready_home.database) as table:  # switched off and on again
        asyncio.run(Notifier(ready_home, NotifyConfig(), table).run())
    homes.add_done(ready_home, name="meanwhile")
    begun(ready_home, command(ready_home))
    assert len(read_notices(ready_home)) == 1


def test_pauses_and_the_jobs_of_prefd_run_are_not_told_and_cancelled_ones_are(ready_home: Home) -> None:
    begun(ready_home, command(ready_home))
    with JobTable.open(ready_home.database) as table:
        table.add(homes.make_spec(), "/a/spec.yaml", owner="run:7")
        table.transition(1, "failed", "its own")
        table.add(homes.make_spec(name="two"), "two.json")
        table.request_pause(2)
        table.request_cancel(2)
    notified(ready_home, command(ready_home), lambda: len(read_notices(ready_home)) == 1)
    assert read_notices(ready_home)[0]["PREFD_JOB_STATE"] == "cancelled"
    assert read_notices(ready_home)[0]["cwd"] == read_notices(ready_home)[0]["PREFD_RUN_DIR"] == str(ready_home.job(2))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('one'); print('no such channel'); raise SystemExit(3)", "exit code 3: no such channel"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal 9: it said nothing"),
        ("import time; time.sleep(60)", "ended, for it took longer than 1 s"),
        (
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)",
            "took longer than 1 s",
        ),
    ],
    ids=["exit code", "signal", "slow", "deaf"],
)
def test_a_failing_command_is_logged_told_once_and_the_next_end_is_told(
    ready_home: Home, code: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    failing = f"import os\nif os.environ['PREFD_JOB_ID'] == '1':\n    {code}\n{WRITES}"
    config = command(ready_home, failing, timeout_seconds=1.0 if "longer" in message else 5.0)
    begun(ready_home, config)
    homes.add_done(ready_home, name="first")
    homes.add_done(ready_home, name="second")
    before = homes.invoke(ready_home, "show", 1, "--json").stdout
    notified(
        ready_home, config, lambda: len(read_notices(ready_home)) == 1, timing=replace(QUICK_TIMING, notify_kill=0.2)
    )
    assert read_notices(ready_home)[0]["PREFD_JOB_ID"] == "2"
    (line,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert line.startswith("notify.command for job 1 (done): ")
    assert message in line
    assert homes.invoke(ready_home, "show", 1, "--json").stdout == before, "the job is not touched"


def test_a_command_that_is_not_there_is_named(ready_home: Home, caplog: pytest.LogCaptureFixture) -> None:
    config = NotifyConfig(command=["/no/such/program", "x"])
    begun(ready_home, config)
    homes.add_done(ready_home)
    notified(ready_home, config, lambda: "cannot run /no/such/program: No such file or directory" in caplog.text)


def test_there_is_no_shell(ready_home: Home) -> None:
    config = NotifyConfig(command=["touch", str(ready_home.root / "a; touch b $HOME")])
    begun(ready_home, config)
    homes.add_done(ready_home)
    notified(ready_home, config, (ready_home.root / "a; touch b $HOME").exists)


def test_what_a_command_leaves_running_holds_nobody_up(ready_home: Home) -> None:
    code = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(3)'])\n{WRITES}"
    begun(ready_home, command(ready_home, code))
    homes.add_done(ready_home, name="first")
    homes.add_done(ready_home, name="second")
    notified(ready_home, command(ready_home, code), lambda: len(read_notices(ready_home)) == 2, seconds=2.5)


def test_a_stop_waits_a_little_for_the_command_and_then_the_next_daemon_runs_it_again(ready_home: Home) -> None:
    started = ready_home.root / "started"
    slow = f"import pathlib, time\npathlib.Path({str(started)!r}).touch()\ntime.sleep(SECONDS)\n{WRITES}"
    begun(ready_home, command(ready_home))
    homes.add_done(ready_home)
    hurried = replace(QUICK_TIMING, notify_stop=0.3)
    notified(ready_home, command(ready_home, slow.replace("SECONDS", "60")), started.exists, timing=hurried)
    assert read_notices(ready_home) == []
    started.unlink()
    notified(ready_home, command(ready_home, slow.replace("SECONDS", "0.1")), started.exists, timing=hurried)
    assert len(read_notices(ready_home)) == 1, "it was waited for"
    notified(ready_home, command(ready_home), in_a_while())
    assert len(read_notices(ready_home)) == 1, "and its end counts"


def test_a_record_of_another_database_is_not_believed(ready_home: Home) -> None:
    begun(ready_home, command(ready_home))
    homes.add_done(ready_home, name="old")
    ready_home.database.rename(ready_home.root / "aside")
    for beside in ready_home.root.glob("prefd.sqlite3-*"):
        beside.unlink()
    (ready_home.root / "runs" / "1").rename(ready_home.root / "elsewhere")
    homes.add_done(ready_home, name="made again")
    notified(ready_home, command(ready_home), in_a_while())
    assert read_notices(ready_home) == [], "neither is an end that this daemon has seen"
    homes.add_done(ready_home, name="new")
    notified(ready_home, command(ready_home), lambda: len(read_notices(ready_home)) == 1)
    assert read_notices(ready_home)[0]["PREFD_JOB_NAME"] == "new"


def test_the_setting_is_a_list_and_its_time_is_positive(ready_home: Home) -> None:
    ready_home.config.write_text('[notify]\ncommand = ["notify-send", "prefd"]\n')
    assert Config.load(ready_home).notify.command == ["notify-send", "prefd"]
    for wrong in ('command = "notify-send prefd"', "timeout_seconds = 0"):
        ready_home.config.write_text(f"[notify]\n{wrong}\n")
        with pytest.raises(Exception, match=rf"notify\.{wrong.split()[0]}"):
            Config.load(ready_home)


def test_an_end_is_shown_on_the_desktop_before_the_command_is_run(
    ready_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import sys; open(sys.argv[1], 'a').write(sys.argv[2] + '\\n')"
    shown = ready_home.root / "shown"
    monkeypatch.setattr(
        notify, "build_note", lambda *words: [sys.executable, "-S", "-c", code, str(shown), " ".join(words)]
    )
    homes.add_queued(ready_home)
    config = command(ready_home, desktop=True)

    def enough() -> bool:
        with JobTable.open(ready_home.database) as table:
            if table.get(1).state == "queued":
                table.request_cancel(1)
        return bool(read_notices(ready_home))

    with JobTable.open(ready_home.database) as table:
        notify.LastNotified(ready_home).write(table.last_change())
    notified(ready_home, config, enough)
    assert shown.read_text().startswith("smol-ipo cancelled")
