"""The kit for reporters passes prefd's own, and says what is wrong with one that tells what is not so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prefd.plugins.conformance.reporters import ROWS, assert_reports
from prefd.plugins.registered_reporter import ReporterDefinitionError
from prefd.plugins.reporters.tensorboard import TensorBoard
from prefd.plugins.reporting import LastSteps, MetricsRow, ReportedRun, RunEnd


class Memory:
    """Keeps rows in memory."""

    def __init__(self, last: LastSteps | None = None, place: Any = "here") -> None:
        self.rows: list[MetricsRow] = []
        self.ends: list[RunEnd | None] = []
        self.last, self.place = last, place

    def open(self, run: ReportedRun) -> Any:
        return self

    def log(self, row: MetricsRow) -> None:
        self.rows.append(row)

    def close(self, end: RunEnd | None) -> None:
        self.ends.append(end)

    def last_steps(self) -> LastSteps | None:
        return self.last


def test_every_row_comes_once_over_a_break(tmp_path: Path) -> None:
    memory = Memory()
    assert_reports(memory, tmp_path)
    assert tuple(memory.rows) == ROWS
    assert memory.ends == [None, RunEnd("done", "trained 6 steps"), None]


def test_prefds_own_conform(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    assert_reports(TensorBoard(), tmp_path)


def test_what_is_not_so_is_told(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"`last_steps` gave LastSteps\(train=3, held_out=0\) where"):
        assert_reports(Memory(LastSteps(train=3)), tmp_path)
    with pytest.raises(AssertionError, match="`place` must be a string, got 3"):
        assert_reports(Memory(place=3), tmp_path)
    with pytest.raises(ReporterDefinitionError, match="must be an object with a method open"):
        assert_reports(Memory, tmp_path)  # type: ignore[arg-type]
