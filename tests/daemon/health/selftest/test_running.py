"""The checks are found by their folders, and what cannot be made has failed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.health.selftest import running
from prefd.daemon.health.selftest.checks import durability
from prefd.daemon.health.selftest.workers import NoAnswer
from prefd.daemon.home.layout import Home
from prefd.daemon.worker.selftest import running as in_worker
from prefd.daemon.worker_tasks.check_results import CheckResult
from support.fake_playground import make_playground
from support.paths import ROOT


def test_the_checks_of_both_folders_are_listed_and_the_machine_comes_first() -> None:
    names = running.list_checks()
    assert names[0] == "machine"
    assert sorted(running.list_model_checks()) == in_worker.list_checks()
    assert running.list_system_checks() == ["crash", "durability", "events", "stop"]
    assert names == [*running.list_model_checks(), *running.list_system_checks()]


def test_the_page_has_a_row_for_each_check() -> None:
    page = (ROOT / "docs" / "selftest.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == running.list_checks()


def test_listing_imports_no_model_library() -> None:
    program = (
        "import sys; from prefd.daemon.health.selftest.running import list_checks; list_checks(); "
        "print([name for name in ('mlx', 'mlx_lm', 'transformers') if name in sys.modules])"
    )
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"


@pytest.mark.usefixtures("answers_in_process")
def test_a_worker_makes_the_check_that_is_asked_for(ready_home: Home) -> None:
    (result,) = running.run_checks(ready_home, ["machine"])
    assert (result.name, result.outcome) == ("machine", "ok")


def test_checks_are_made_on_the_device_that_the_settings_name(
    ready_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready_home.config.write_text('[worker]\ndevice = "cpu"\n')
    devices: list[str] = []

    def answer(*arguments: Any) -> CheckResult:
        devices.append(arguments[-1])
        return CheckResult(outcome="ok", finding="")

    monkeypatch.setattr(running, "ask_worker", answer)
    assert len(list(running.run_checks(ready_home, ["machine", "noise"]))) == 2
    assert devices == ["cpu", "cpu"]


def test_a_worker_that_dies_has_failed_its_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: Any) -> CheckResult:
        raise NoAnswer("the worker ended with SIGSEGV")

    monkeypatch.setattr(running, "ask_worker", die)
    result = running.run_model_check("speed", None)
    assert (result.name, result.outcome) == ("speed", "failed")
    assert result.finding == "it cannot be made: the worker ended with SIGSEGV"


def test_a_worker_that_says_nothing_gives_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "prefd.daemon.health.selftest.workers.WORKER", (sys.executable, "-c", "raise SystemExit('no room')")
    )
    result = running.run_model_check("speed", None)
    assert result.finding == "it cannot be made: the worker ended with exit code 1: no room"


def test_a_system_check_that_raises_has_failed(
    tmp_path: Path, ready_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> float:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durability, "write_safely", refuse)
    result = running.run_system_check("durability", make_playground(tmp_path), ready_home)
    assert (result.name, result.outcome) == ("durability", "failed")
    assert "No space left" in result.finding
