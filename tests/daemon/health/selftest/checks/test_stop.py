"""A daemon that does not stop, stops slowly or loses its job is a failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.health.selftest.checks import stop
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.timing import Timing
from support.fake_playground import make_playground


def test_a_stopped_job_that_waits_to_go_on_is_right(tmp_path: Path, ready_home: Home) -> None:
    playground = make_playground(tmp_path)
    result = stop.check(playground, ready_home)
    assert result.outcome == "ok"
    assert result.numbers["saved_at_step"] == 7
    with JobTable.open_readonly(playground.home.database) as table:
        assert [job.state for job in table.list()] == ["cancelled"]  # no later check finds it running


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stops": False}, "did not end within"),
        ({"end_state": "failed"}, "its job is failed"),
        ({"kept": {"before": 5, "after": 0}, "end_state": "training"}, "its job is training"),
    ],
)
def test_whatever_goes_wrong_fails(tmp_path: Path, ready_home: Home, settings: dict[str, Any], message: str) -> None:
    result = stop.check(make_playground(tmp_path, **settings), ready_home)
    assert result.outcome == "failed"
    assert message in result.finding
    assert "stop_grace_seconds" in result.remedy


def test_a_slow_end_fails(tmp_path: Path, ready_home: Home) -> None:
    result = stop.check(make_playground(tmp_path, timing=Timing(stop_check=-1.0)), ready_home)
    assert result.outcome == "failed"
    assert result.finding.startswith("slow: ")
