"""`find_course` finds in a run's columns what a comparison of jobs takes of its metrics."""

from __future__ import annotations

import math

from prefd.daemon.jobs.comparison import PEAK_MEMORY, RunCourse
from prefd.daemon.page.series.columns import STEP, Columns
from prefd.daemon.page.series.run_columns import RunColumns
from prefd.plugins.metrics import EVAL_LOSS


def find_course(run: RunColumns, adapter_step: int | None) -> RunCourse:
    """Find the course of a run, as `read_course` does from its rows."""
    every = [peak for rows in (run.train, run.eval) for peak in rows.values.get(PEAK_MEMORY.name, ())]
    peaks = [peak for peak in every if math.isfinite(peak)]
    steps = [rows.steps[-1] for rows in (run.train, run.eval) if len(rows)]
    return RunCourse(max(steps, default=None), max(peaks, default=None), _find_evaluation(run.eval, adapter_step))


def _find_evaluation(evals: Columns, adapter_step: int | None) -> dict[str, float | None]:
    """Find the last evaluation of the adapter's step, else the last one, as a row; empty where there is none."""
    evaluated = [
        index
        for index in range(len(evals.values.get(EVAL_LOSS, ())))
        if not math.isnan(evals.values[EVAL_LOSS][index]) or index in evals.bad.get(EVAL_LOSS, ())
    ]
    if not evaluated:
        return {}
    of_adapter = [index for index in evaluated if evals.steps[index] == adapter_step]
    index = (of_adapter or evaluated)[-1]
    row: dict[str, float | None] = {STEP: evals.steps[index]}
    for name, column in evals.values.items():
        if index < len(column):
            row[name] = None if math.isnan(column[index]) else column[index]
    return row
