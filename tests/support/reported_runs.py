"""Runs to report: rows as training writes them, a run as a reporter is told of it, and reporters that keep what they are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prefd.plugins.reporting import LastSteps, MetricsRow, Report, ReportedRun, RunReporter, find_last_steps

SPEC = {"model": "org/model", "loss": {"name": "ipo", "beta": 0.3}, "training": {"iters": 4}}
KEEPER = '''
import json
from prefd.plugins.hookspecs import hookimpl

class Keeper:
    """Keeps what it is told, a line each."""

    def open(self, run):
        with (run.folder / "runs.txt").open("a") as file:
            file.write(f"{run.id} {run.title} {run.project}\\\\n")
        return Kept(run)

class Kept:
    place = "a file"

    def __init__(self, run):
        self.path = run.folder / "rows.jsonl"

    def write(self, *line):
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\\\\n")

    def log(self, row):
        self.write(row.step, row.held_out, dict(row.metrics))

    def close(self, end):
        self.write("end", end and end.state)

class Broken(Kept):
    """Raises from the second row on."""
    def log(self, row):
        if row.step > 1:
            raise ConnectionError("no route to host")
        super().log(row)

class BrokenKeeper(Keeper):
    """Opens what breaks."""
    def open(self, run):
        return Broken(run)

@hookimpl
def register_reporters(register):
    register("keeper", Keeper())
    register("broken", BrokenKeeper())
'''.replace("\\\\", "\\")


def line(step: int, held_out: bool = False) -> dict[str, float]:
    """A line of metrics.jsonl."""
    prefix = "eval_" if held_out else ""
    return {
        "step": step,
        "epoch": step / 4,
        f"{prefix}loss": 1 / step,
        f"{prefix}rewards/margins": 0.5 * step,
        "time": 1e9 + step,
    }


def row(step: int, held_out: bool = False) -> MetricsRow:
    metrics_row = MetricsRow.read(line(step, held_out))
    assert metrics_row is not None
    return metrics_row


def write_lines(path: Path, *lines: dict[str, float]) -> None:
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))


def make_run(folder: Path, last: LastSteps | None = None, **more: Any) -> ReportedRun:
    folder.mkdir(parents=True, exist_ok=True)
    files_of_run: dict[str, Any] = {
        "id": "01abcdef",
        "title": "ipo-abcdef",
        "name": "ipo",
        "group": "",
        "project": "prefd",
    } | more
    return ReportedRun(spec=SPEC, folder=folder, last=last or LastSteps(), **files_of_run)


def report_some(reporter: RunReporter, run: ReportedRun, *rows: MetricsRow) -> Report:
    """Open `run`, and log those of `rows` that are not there, as prefd does."""
    report = reporter.open(run)
    last = find_last_steps(report) or run.last
    for each in rows:
        if not last.have(each):
            report.log(each)
    return report
