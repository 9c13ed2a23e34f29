"""Runs as trackio's own database has them: after a whole run, and after one that was killed and went on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trackio", reason="the extra `trackio` is not installed")

from prefd.plugins.reporters.trackio import Trackio, TrackioReport
from prefd.plugins.reporting import LastSteps, RunEnd
from support.reported_runs import make_run, report_some, row

ROWS = [row(1), row(2), row(2, held_out=True), row(3), row(4), row(4, held_out=True)]


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """trackio's storage, in the test's own folder; trackio takes its own from the environment when it is imported."""
    for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    from trackio import context_vars, sqlite_storage, utils

    for module in (sqlite_storage, utils):
        monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
    context_vars.current_project.set(None)
    yield sqlite_storage.SQLiteStorage
    context_vars.current_run.set(None)


def test_a_run_is_read_back_with_its_steps_config_and_end(storage: Any, tmp_path: Path) -> None:
    report_some(Trackio(), make_run(tmp_path / "own"), *ROWS).close(RunEnd("done", "trained 4 steps"))
    logs = storage.get_logs("prefd", "ipo-abcdef")
    assert [(each["step"], each["loss"]) for each in logs if "loss" in each] == [
        (1, 1.0),
        (2, 0.5),
        (3, 1 / 3),
        (4, 0.25),
    ]
    assert [(each["step"], each["eval_rewards/margins"]) for each in logs if "eval_loss" in each] == [
        (2, 1.0),
        (4, 2.0),
    ]
    config = storage.get_run_config("prefd", "ipo-abcdef")
    assert config["loss"] == {"name": "ipo", "beta": 0.3}
    (alert,) = storage.get_alerts("prefd", "ipo-abcdef")
    assert (alert["title"], alert["text"], alert["level"]) == ("done", "trained 4 steps", "info")


def test_a_killed_run_is_readable_and_goes_on_without_a_step_twice(storage: Any, tmp_path: Path) -> None:
    run = make_run(tmp_path / "own", LastSteps(train=3, held_out=2))  # what prefd noted before the kill
    report_some(Trackio(), run, *ROWS[:3]).close(None)  # row 3 was still in trackio's queue
    assert [each["step"] for each in storage.get_logs("prefd", "ipo-abcdef")] == [1, 2, 2]
    report = report_some(Trackio(), run, *ROWS)
    assert isinstance(report, TrackioReport)
    report.close(RunEnd("failed", "out of disk"))
    assert [each["step"] for each in storage.get_logs("prefd", "ipo-abcdef")] == [1, 2, 2, 3, 4, 4]
    assert [each["name"] if isinstance(each, dict) else each for each in storage.get_runs("prefd")] == ["ipo-abcdef"]
    again = Trackio().open(run)
    assert again.last_steps() == LastSteps(train=4, held_out=4)
    again.close(None)
