"""The file of a job's metrics: what a resumed run keeps of it, and that a copied file is not taken for it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from prefd.daemon.worker.training.metrics_log import START, MetricsLog


def test_lines_past_a_step_and_cut_ones_go(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.resume_after(3)  # nothing there yet
    for step in (1, 2, 3, 4):
        log.append({"step": step, "loss": 0.5})
    with log.path.open("a") as file:
        file.write('7\n{"loss": 1}\n{"step": 2, "lo')
    log.resume_after(3)
    assert [json.loads(line)["step"] for line in log.path.read_text().splitlines()] == [1, 2, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == [START, "metrics.jsonl"]


def test_each_line_says_when_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    monkeypatch.setattr(time, "time", lambda: 1763794998.12345)
    log.append({"step": 1, "loss": 0.5})
    assert json.loads(log.path.read_text()) == {"step": 1, "loss": 0.5, "time": 1763794998.123}


FOREIGN = '{"step": 1, "loss": 9.5, "time": 1.5}\n{"step": 7, "loss": 9.0, "time": 2.5}\n'


@pytest.mark.parametrize("steps", [0, 3], ids=["before its first line", "after some steps"])
def test_a_file_that_was_copied_over_the_metrics_is_kept_and_told(tmp_path: Path, steps: int) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    assert log.resume_after(0) is None
    for step in range(1, steps + 1):
        log.append({"step": step, "loss": 0.5})
    log.path.write_text(FOREIGN)
    remark = log.resume_after(2)
    assert remark is not None
    assert "was not written by this job: it is kept as metrics-before.jsonl" in remark
    assert (tmp_path / "metrics-before.jsonl").read_text() == FOREIGN
    assert log.path.read_text() == ""
    log.append({"step": 3, "loss": 0.25})
    assert log.resume_after(3) is None
    assert json.loads(log.path.read_text())["loss"] == 0.25


def test_metrics_of_an_earlier_version_are_the_jobs_own(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(FOREIGN)
    log = MetricsLog(tmp_path / "metrics.jsonl")
    assert log.resume_after(1) is None
    assert log.path.read_text() == FOREIGN.splitlines(keepends=True)[0]


def test_a_first_line_that_a_crash_has_cut_is_no_strangers(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.resume_after(0)
    log.path.write_text('{"step": 1, "lo')
    assert log.resume_after(0) is None
    assert log.path.read_text() == ""
