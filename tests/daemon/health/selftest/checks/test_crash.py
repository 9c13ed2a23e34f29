"""A job that is killed and ends with another adapter is a failure; one that could not be killed is not judged."""

from __future__ import annotations

from pathlib import Path

from prefd.daemon.health.selftest.checks import crash
from prefd.daemon.home.layout import Home
from support.fake_playground import make_playground


def test_the_same_adapter_is_right(tmp_path: Path, ready_home: Home) -> None:
    playground = make_playground(tmp_path, b"one", b"one")
    result = crash.check(playground, ready_home)
    assert result.outcome == "ok"
    assert "killed behind step 5 of 150" in result.finding
    assert playground.calls == ["start", "wait", "kill", "start"]  # type: ignore[attr-defined]  # the stand-in's


def test_another_adapter_fails(tmp_path: Path, ready_home: Home) -> None:
    result = crash.check(make_playground(tmp_path, b"one", b"other"), ready_home)
    assert result.outcome == "failed"
    assert "another adapter" in result.finding
    assert "--fresh" in result.remedy


def test_a_job_that_ended_too_soon_says_nothing(tmp_path: Path, ready_home: Home) -> None:
    result = crash.check(make_playground(tmp_path, b"one", b"other", end_state="done"), ready_home)
    assert result.outcome == "skipped"
    assert "could be killed" in result.finding
