"""`prefd selftest` and `prefd doctor --bench`: lines to paste, JSON, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.errors import Exit
from prefd.daemon.health.selftest import running
from prefd.daemon.home import lock
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.processes import ProcessId
from prefd.daemon.timing import Timing
from prefd.daemon.worker_tasks.check_results import CheckResult
from support.fake_worker import wait_for
from support.homes import invoke

RIGHT = CheckResult(
    name="exactness", outcome="ok", finding="float32 is within 1e-05 nats", numbers={"nats": 1e-5}, seconds=3.2
)
WRONG = CheckResult(name="memory", outcome="failed", finding="8 MiB for 4", numbers={}, remedy="report it", seconds=0.4)
LEFT_OUT = CheckResult(name="crash", outcome="skipped", finding="no GPU", numbers={})

Stub = Callable[..., list[Sequence[str]]]


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Lets the checks have these results; returns the list to which the names of those asked for are added."""

    def put(*results: CheckResult) -> list[Sequence[str]]:
        calls: list[Sequence[str]] = []

        def run_checks(home: Home, names: Sequence[str], timing: Timing) -> Iterator[CheckResult]:
            calls.append(names)
            yield from results

        monkeypatch.setattr(running, "run_checks", run_checks)
        return calls

    return put


def test_each_result_is_a_line_that_can_be_pasted(ready_home: Home, stub: Stub) -> None:
    stub(RIGHT, LEFT_OUT)
    result = invoke(ready_home, "selftest")
    assert result.stdout.splitlines() == [
        "ok       exactness      3 s  float32 is within 1e-05 nats",
        "skipped  crash          0 s  no GPU",
        "1 ok, 1 skipped in 3 s",
    ]
    assert result.exit_code == Exit.OK


def test_a_failing_check_has_its_remedy_and_its_own_exit_code(ready_home: Home, stub: Stub) -> None:
    stub(RIGHT, WRONG)
    result = invoke(ready_home, "selftest")
    assert result.exit_code == Exit.CHECK_FAILED == 6
    assert "failed   memory         0 s  8 MiB for 4" in result.stdout
    assert "→ report it" in result.stdout
    assert result.stdout.splitlines()[-1] == "1 ok, 1 failed in 4 s"


def test_json_has_every_number(ready_home: Home, stub: Stub) -> None:
    stub(RIGHT, WRONG)
    result = invoke(ready_home, "selftest", "--json")
    document = json.loads(result.stdout)
    assert document["ok"] is False
    assert document["checks"][0] == RIGHT.to_json()
    assert document["checks"][1]["remedy"] == "report it"
    assert result.exit_code == Exit.CHECK_FAILED


def test_all_checks_are_made_unless_some_are_named(ready_home: Home, stub: Stub) -> None:
    calls = stub(RIGHT)
    invoke(ready_home, "selftest")
    invoke(ready_home, "selftest", "stop", "speed")
    assert [list(names) for names in calls] == [running.list_checks(), ["stop", "speed"]]


def test_an_unknown_check_is_refused_with_the_names(ready_home: Home, stub: Stub) -> None:
    calls = stub(RIGHT)
    result = invoke(ready_home, "selftest", "sped")
    assert result.exit_code == Exit.USAGE
    assert "no check is called 'sped'; there are: machine, drift" in result.stderr
    assert calls == []


def test_it_needs_no_home_and_makes_none(home: Path, stub: Stub) -> None:
    stub(RIGHT)
    assert invoke(Home(home), "selftest").exit_code == Exit.OK
    assert not home.exists()


@pytest.mark.parametrize(("outcome", "code"), [("ok", Exit.OK), ("failed", Exit.CHECK_FAILED)])
def test_doctor_measures_a_model_of_ones_own(
    ready_home: Home, monkeypatch: pytest.MonkeyPatch, outcome: Any, code: Exit
) -> None:
    calls = []

    def run_model_check(name: str, model: str | None, timing: Timing, device: str) -> CheckResult:
        calls.append((name, model, device))
        return CheckResult(name=name, outcome=outcome, finding="8 MiB", numbers={"mib": 8})

    monkeypatch.setattr(running, "run_model_check", run_model_check)
    ready_home.config.write_text('[worker]\ndevice = "cpu"\n')
    result = invoke(ready_home, "doctor", "--bench", "org/model")
    assert calls == [("memory", "org/model", "cpu"), ("speed", "org/model", "cpu")]
    assert result.exit_code == code
    assert f"{outcome:<7}  memory         0 s  8 MiB" in result.stdout
    document = json.loads(invoke(ready_home, "doctor", "--bench", "org/model", "--json").stdout)
    assert [check["numbers"] for check in document["checks"]] == [{"mib": 8}, {"mib": 8}]


@pytest.mark.usefixtures("answers_in_process")
def test_doctor_says_that_a_model_is_not_there(ready_home: Home, tmp_path: Path) -> None:
    result = invoke(ready_home, "doctor", "--bench", tmp_path / "none")
    assert result.exit_code == Exit.FAILED
    assert "there is no such folder" in result.stderr
    assert result.stdout == ""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_daemon_that_is_tried(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "prefd.daemon.cli", "--home", str(tmp_path / "none"), "selftest", "events"]
    folder = tmp_path / "temporary"
    folder.mkdir()
    with subprocess.Popen(command, env=os.environ | {"TMPDIR": str(folder)}, stderr=subprocess.DEVNULL) as child:
        wait_for(lambda: any(folder.glob("prefd-selftest-*/home/jobs/rejected/*.error.txt")), 90)
        (home,) = folder.glob("prefd-selftest-*/home")
        daemon = lock.find_holder(Home(home))
        child.send_signal(number)
        child.wait(60)
    assert daemon is not None
    assert (left := ProcessId.find(daemon.pid)) is None or not left.is_alive()
    assert list(folder.iterdir()) == []
    assert child.returncode != 0
