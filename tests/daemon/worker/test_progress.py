"""Progress as others read it: a file that is always whole, a rate, and a time to go that knows what is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.worker import progress
from prefd.daemon.worker.progress import Reporter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    new_clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", new_clock)
    return new_clock


def test_rate_and_time_to_go_count_what_this_process_did(tmp_path: Path, clock: Clock) -> None:
    report = Reporter(RunDir(tmp_path), "training", total=100, unit="steps", done=40)
    assert report.rate is None
    assert report.eta_s is None
    clock.now += 10
    report.advance(20, {"loss": 0.5})
    assert (report.rate, report.eta_s) == (2.0, 20.0)
    written = RunDir(tmp_path).progress()
    assert written is not None
    assert (written.done, written.total, written.rate, written.metrics) == (60, 100, 2.0, {"loss": 0.5})
    assert report.line() == "training: 60 of 100 steps, 2.0 steps/s, 20 s to go, loss 0.5000"


def test_time_to_go_goes_by_cost_where_the_long_ones_come_first(tmp_path: Path, clock: Clock) -> None:
    report = Reporter(RunDir(tmp_path), "precompute", total=10, unit="completions", cost=1000, note="2 ranks")
    clock.now += 30
    report.advance(2, cost=600)
    assert report.eta_s == pytest.approx(20.0)
    written = RunDir(tmp_path).progress()
    assert written is not None
    assert written.note == "2 ranks"


def test_the_file_is_written_twice_a_second_and_at_the_end(tmp_path: Path, clock: Clock) -> None:
    report = Reporter(RunDir(tmp_path), "training", total=3, unit="steps")

    def written() -> int:
        progress = RunDir(tmp_path).progress()
        assert progress is not None
        return progress.done

    clock.now += 0.1
    report.advance(1)
    assert written() == 0
    clock.now += 0.5
    report.advance(1)
    assert written() == 2
    clock.now += 0.1
    report.advance(1)
    assert written() == 3


def test_a_slow_report_says_that_the_machine_slept_or_is_hot(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slept, pressure = [100.0], [""]
    monkeypatch.setattr(progress, "read_slept_seconds", lambda: slept[0])
    monkeypatch.setattr(progress, "read_thermal_pressure", lambda: pressure[0])
    caplog.set_level("INFO")
    report = Reporter(RunDir(tmp_path), "training", total=100, unit="steps")
    clock.now += 20
    report.advance(1)
    assert "slept" not in caplog.text
    slept[0] += 11_400.0
    pressure[0] = "heavy"
    clock.now += 20
    report.advance(1)
    assert caplog.messages[-1].endswith("; the machine slept 3h10m; heat slows the machine (thermal pressure heavy)")
