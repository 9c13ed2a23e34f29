"""Drops that no event tells of are a failure."""

from __future__ import annotations

from pathlib import Path

from prefd.daemon.health.selftest.checks import events
from prefd.daemon.home.layout import Home
from support.fake_playground import make_playground


def test_every_drop_is_answered(tmp_path: Path, ready_home: Home) -> None:
    result = events.check(make_playground(tmp_path), ready_home)
    assert result.outcome == "ok"
    assert result.numbers["answered"] == 20


def test_drops_without_an_answer_fail(tmp_path: Path, ready_home: Home) -> None:
    result = events.check(make_playground(tmp_path, answers_drops=False), ready_home)
    assert result.outcome == "failed"
    assert "20 of 20 files dropped" in result.finding
    assert "polling = true" in result.remedy
