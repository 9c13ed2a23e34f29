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
def made(home: Path) -> Home:
    made = Home(home)
    made.create()
    return made


def told(home: Home) -> list[dict[str, Any]]:
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


def test_the_end_of_a_job_is_told_with_all_there_is_to_know(made: Home) -> None:
    begun(made, command(made))
    reason = "no row can be used\nlook at column `chosen`"
    homes.add_failed(made, reason=reason, name="bad job")
    homes.add_done(made)
    notified(made, command(made), lambda: len(told(made)) == 2)
    first, second = told(made)
    assert {name: value for name, value in first.items() if name.startswith("PREFD_JOB")} == {
        "PREFD_JOB_ID": "1",
        "PREFD_JOB_NAME": "bad job",
        "PREFD_JOB_STATE": "failed",
        "PREFD_JOB_REASON": reason,
    }
    assert first["PREFD_RUN_DIR"] == first["cwd"] == str(made.job(1))
    assert first["PREFD_HOME"] == str(made.root)
    shown = json.loads(homes.invoke(made, "show", 1, "--json").stdout)
    assert first["stdin"] | {"unattended": ""} == shown
    assert (second["PREFD_JOB_STATE"], second["stdin"]["training"]["ok"]) == ("done", True)
    assert int(first["PREFD_EVENT_ID"]) < int(second["PREFD_EVENT_ID"])


def test_each_end_is_told_once_over_restarts_and_one_that_came_while_no_daemon_ran_too(made: Home) -> None:
    begun(made, command(made))
    for number in range(4):
        homes.add_done(made, name=f"job-{number}")  # while no notifier runs: as if the daemon had been killed at once
        notified(made, command(made), lambda wanted=number + 1: len(told(made)) >= wanted)  # type: ignore[misc]
    notified(made, command(made), in_a_while())
    assert [each["PREFD_JOB_ID"] for each in told(made)] == ["1", "2", "3", "4"]


def test_what_ended_before_the_command_was_configured_is_not_told(made: Home) -> None:
    homes.add_done(made, name="old")
    begun(made, command(made))
    homes.add_done(made, name="new")
    notified(made, command(made), lambda: len(told(made)) == 1)
    assert told(made)[0]["PREFD_JOB_NAME"] == "new"
    with JobTable.open(made.database) as table:  # switched off and on again
        asyncio.run(Notifier(made, NotifyConfig(), table).run())
    homes.add_done(made, name="meanwhile")
    begun(made, command(made))
    assert len(told(made)) == 1


def test_pauses_and_the_jobs_of_prefd_run_are_not_told_and_cancelled_ones_are(made: Home) -> None:
    begun(made, command(made))
    with JobTable.open(made.database) as table:
        table.add(homes.make_spec(), "/a/spec.yaml", owner="run:7")
        table.transition(1, "failed", "its own")
        table.add(homes.make_spec(name="two"), "two.json")
        table.request_pause(2)
        table.request_cancel(2)
    notified(made, command(made), lambda: len(told(made)) == 1)
    assert told(made)[0]["PREFD_JOB_STATE"] == "cancelled"
    assert told(made)[0]["cwd"] == told(made)[0]["PREFD_RUN_DIR"] == str(made.job(2))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print('one'); print('no such channel'); raise SystemExit(3)", "exit code 3: no such channel"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal 9: it said nothing"),
        ("import time; time.sleep(60)", "ended, for it took longer than 0.3 s"),
        (
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)",
            "took longer than 0.3 s",
        ),
    ],
    ids=["exit code", "signal", "slow", "deaf"],
)
def test_a_failing_command_is_logged_told_once_and_the_next_end_is_told(
    made: Home, code: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    failing = f"import os\nif os.environ['PREFD_JOB_ID'] == '1':\n    {code}\n{WRITES}"
    config = command(made, failing, timeout_seconds=0.3 if "longer" in said else 5.0)
    begun(made, config)
    homes.add_done(made, name="first")
    homes.add_done(made, name="second")
    before = homes.invoke(made, "show", 1, "--json").stdout
    notified(made, config, lambda: len(told(made)) == 1, timing=replace(QUICK_TIMING, notify_kill=0.2))
    assert told(made)[0]["PREFD_JOB_ID"] == "2"
    (line,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert line.startswith("notify.command for job 1 (done): ")
    assert said in line
    assert homes.invoke(made, "show", 1, "--json").stdout == before, "the job is not touched"


def test_a_command_that_is_not_there_is_named(made: Home, caplog: pytest.LogCaptureFixture) -> None:
    config = NotifyConfig(command=["/no/such/program", "x"])
    begun(made, config)
    homes.add_done(made)
    notified(made, config, lambda: "cannot run /no/such/program: No such file or directory" in caplog.text)


def test_there_is_no_shell(made: Home) -> None:
    config = NotifyConfig(command=["touch", str(made.root / "a; touch b $HOME")])
    begun(made, config)
    homes.add_done(made)
    notified(made, config, (made.root / "a; touch b $HOME").exists)


def test_what_a_command_leaves_running_holds_nobody_up(made: Home) -> None:
    code = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(3)'])\n{WRITES}"
    begun(made, command(made, code))
    homes.add_done(made, name="first")
    homes.add_done(made, name="second")
    notified(made, command(made, code), lambda: len(told(made)) == 2, seconds=2.5)


def test_a_stop_waits_a_little_for_the_command_and_then_the_next_daemon_runs_it_again(made: Home) -> None:
    started = made.root / "started"
    slow = f"import pathlib, time\npathlib.Path({str(started)!r}).touch()\ntime.sleep(SECONDS)\n{WRITES}"
    begun(made, command(made))
    homes.add_done(made)
    hurried = replace(QUICK_TIMING, notify_stop=0.3)
    notified(made, command(made, slow.replace("SECONDS", "60")), started.exists, timing=hurried)
    assert told(made) == []
    started.unlink()
    notified(made, command(made, slow.replace("SECONDS", "0.1")), started.exists, timing=hurried)
    assert len(told(made)) == 1, "it was waited for"
    notified(made, command(made), in_a_while())
    assert len(told(made)) == 1, "and its end counts"


def test_a_record_of_another_database_is_not_believed(made: Home) -> None:
    begun(made, command(made))
    homes.add_done(made, name="old")
    made.database.rename(made.root / "aside")
    for beside in made.root.glob("prefd.sqlite3-*"):
        beside.unlink()
    (made.root / "runs" / "1").rename(made.root / "elsewhere")
    homes.add_done(made, name="made again")
    notified(made, command(made), in_a_while())
    assert told(made) == [], "neither is an end that this daemon has seen"
    homes.add_done(made, name="new")
    notified(made, command(made), lambda: len(told(made)) == 1)
    assert told(made)[0]["PREFD_JOB_NAME"] == "new"


def test_the_setting_is_a_list_and_its_time_is_positive(made: Home) -> None:
    made.config.write_text('[notify]\ncommand = ["notify-send", "prefd"]\n')
    assert Config.load(made).notify.command == ["notify-send", "prefd"]
    for wrong in ('command = "notify-send prefd"', "timeout_seconds = 0"):
        made.config.write_text(f"[notify]\n{wrong}\n")
        with pytest.raises(Exception, match=rf"notify\.{wrong.split()[0]}"):
            Config.load(made)


def test_an_end_is_shown_on_the_desktop_before_the_command_is_run(made: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys; open(sys.argv[1], 'a').write(sys.argv[2] + '\\n')"
    shown = made.root / "shown"
    monkeypatch.setattr(
        notify, "build_note", lambda *words: [sys.executable, "-S", "-c", code, str(shown), " ".join(words)]
    )
    homes.add_queued(made)
    config = command(made, desktop=True)

    def enough() -> bool:
        with JobTable.open(made.database) as table:
            if table.get(1).state == "queued":
                table.request_cancel(1)
        return bool(told(made))

    with JobTable.open(made.database) as table:
        notify.LastNotified(made).write(table.last_change())
    notified(made, config, enough)
    assert shown.read_text().startswith("smol-ipo cancelled")
