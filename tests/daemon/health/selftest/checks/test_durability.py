"""The disk of the home is measured, and one on which each file waits for seconds is a failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefd.daemon.health.selftest.checks import durability
from prefd.daemon.home.layout import Home
from support.fake_playground import make_playground


def test_the_homes_disk_is_measured_and_left_as_it_was(tmp_path: Path, ready_home: Home) -> None:
    before = sorted(ready_home.root.iterdir())
    result = durability.check(make_playground(tmp_path), ready_home)
    assert result.outcome == "ok", result.finding
    assert "in the home" in result.finding
    assert sorted(ready_home.root.iterdir()) == before


def test_without_a_home_the_temporary_folder_is_measured(tmp_path: Path, home: Path) -> None:
    result = durability.check(make_playground(tmp_path), Home(home))
    assert "in the temporary folder" in result.finding
    assert not home.exists()


def test_a_slow_disk_fails(tmp_path: Path, ready_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durability, "write_safely", lambda path: 3.0)
    result = durability.check(make_playground(tmp_path), ready_home)
    assert result.outcome == "failed"
    assert "slow: a file is safe after 3000 ms" in result.finding
    assert "PREFD_HOME" in result.remedy
