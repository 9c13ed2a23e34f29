"""Checks whether a reporter keeps what prefd relies on, by reporting a made-up run that is broken off once and goes on.

A plugin's own tests call `assert_reports(MyReporter(), folder)`, and then look at what was written with the tool's own library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from prefd.plugins.registered_reporter import RegisteredReporter
from prefd.plugins.reporting import (
    NOTHING,
    LastSteps,
    MetricsRow,
    Report,
    ReportedRun,
    RunEnd,
    RunReporter,
    find_last_steps,
)

ROWS = tuple(
    row
    for step in range(1, 7)
    for row in (
        MetricsRow(step, {"epoch": step / 6, "loss": 1 / step, "rewards/margins": step / 4}, 1.8e9 + step),
        MetricsRow(step, {"epoch": step / 6, "eval_loss": 2 / step}, 1.8e9 + step),
    )
    if step % 3 == 0 or not row.held_out
)
"""Six steps, and evaluations after the third and the sixth."""
BROKEN_OFF = 5
"""So many of the rows are logged before the run is broken off."""


def assert_reports(reporter: RunReporter, folder: Path, name: str = "reporter") -> None:
    """Raises AssertionError with what is wrong with `reporter`. It may write to `folder`, and keeps what it wrote.

    What it raises itself goes through: its traceback says more.
    """
    RegisteredReporter.check(name, reporter, "a test")
    own = folder / name
    own.mkdir(parents=True, exist_ok=True)
    spec = {"name": "check", "model": "org/model", "loss": {"name": "sigmoid", "beta": 0.1}, "report_to": [name]}
    run = ReportedRun("01check", "check-01check", "check", "", "prefd-check", spec, own)
    last = _report(reporter, run, ROWS[:BROKEN_OFF], NOTHING, None)
    last = _report(reporter, replace(run, last=last), ROWS, last, RunEnd("done", "trained 6 steps"))
    _report(reporter, replace(run, last=last), ROWS, last, None)


def _report(
    reporter: RunReporter, run: ReportedRun, rows: Sequence[MetricsRow], last: LastSteps, end: RunEnd | None
) -> LastSteps:
    """Reports what is missing of `rows`, checks what the reporter says of itself, and returns the last steps."""
    report: Report = reporter.open(run)
    place = getattr(report, "place", "")
    assert isinstance(place, str), f"`place` must be a string, got {place!r}"
    last_steps = find_last_steps(report)
    assert last_steps in (None, last), (
        f"`last_steps` gave {last_steps!r} where {last!r} were logged, and the report was closed"
    )
    for row in rows:
        if not last.have(row):
            report.log(row)
            last = last.after(row)
    report.close(end)
    return last
