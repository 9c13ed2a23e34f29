"""Curves are columns made few enough to draw: each point stands for a bucket of rows, of which mean and extremes are told.

A spike of one step stays visible at any scale, for the least and the greatest value of each bucket are in it; and every step
whose value is not finite is named.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Sequence

from prefd.daemon.control.api.responses import Answer
from prefd.daemon.page.series.columns import Columns
from prefd.plugins.metrics import TIME

Numbers = list[float | None]
DIGITS = ".6g"


class MetricCurve(Answer):
    """MetricCurve is one metric: a number for each point, null where no row of its bucket has one that is finite."""

    mean: Numbers
    """The mean of the bucket's finite values, to 6 digits as all of these."""
    min: Numbers | None = None
    """The least of them; null where a point is a single row."""
    max: Numbers | None = None
    """The greatest."""


class Curves(Answer):
    """Curves are the rows of one kind in a range of steps, at most so many points long."""

    rows: int
    """How many rows the range has."""
    bucket: int
    """How many rows a point stands for, the last one excepted; 1: each is told."""
    step: list[int]
    """Of each point its first row's step: the point reaches to the next one's."""
    epoch: Numbers | None = None
    """Of that row; null where no row has it."""
    time: list[int | None] | None = None
    """Of that row, Unix time; null where no row has it, as those of earlier versions."""
    metrics: dict[str, MetricCurve]
    bad: dict[str, list[int]]
    """The steps at which a metric was not finite; only such metrics are in it."""


def draw_curves(
    columns: Columns, points: int, start: int | None = None, end: int | None = None, keys: Collection[str] = ()
) -> Curves:
    """Draw the rows from step `start` to `end`, both included, in at most `points` points. `keys`: these alone."""
    first = 0 if start is None else bisect_left(columns.steps, start)
    last = len(columns) if end is None else bisect_right(columns.steps, end)
    rows = max(last - first, 0)
    bucket = max(-(-rows // points), 1)
    edges = range(first, last, bucket)
    chosen = [key for key in columns.keys if not keys or key in keys]
    return Curves(
        rows=rows,
        bucket=bucket,
        step=[columns.steps[index] for index in edges],
        epoch=_pick(columns, "epoch", edges),
        time=_pick_times(columns, edges),
        metrics={key: _draw_curve(columns, key, edges, last) for key in chosen},
        bad={
            key: [columns.steps[index] for index in columns.bad[key] if first <= index < last]
            for key in chosen
            if key in columns.bad and any(first <= index < last for index in columns.bad[key])
        },
    )


def _draw_curve(columns: Columns, key: str, edges: range, last: int) -> MetricCurve:
    column = columns.values[key]
    buckets: Sequence[Sequence[float]] = [column[index : min(index + edges.step, last)] for index in edges]
    if key in columns.gaps or len(column) < last:
        buckets = [[value for value in bucket if math.isfinite(value)] for bucket in buckets]
    mean = _reduce(buckets, lambda bucket: sum(bucket) / len(bucket))
    if edges.step == 1:
        return MetricCurve(mean=mean)
    return MetricCurve(mean=mean, min=_reduce(buckets, min), max=_reduce(buckets, max))


def _reduce(buckets: Sequence[Sequence[float]], reduce: Callable[[Sequence[float]], float]) -> Numbers:
    return [round_number(reduce(bucket)) if bucket else None for bucket in buckets]


def _pick(columns: Columns, key: str, edges: range) -> Numbers | None:
    column = columns.values.get(key)
    return None if column is None else [round_number(_get(column, index)) for index in edges]


def _pick_times(columns: Columns, edges: range) -> list[int | None] | None:
    column = columns.values.get(TIME)
    if column is None:
        return None
    return [None if math.isnan(value := _get(column, index)) else round(value) for index in edges]


def _get(column: array[float], index: int) -> float:
    return column[index] if index < len(column) else math.nan


def round_number(value: float) -> float | None:
    """Round to 6 significant digits; null for what is not finite (a mean of huge numbers may not be)."""
    return float(format(value, DIGITS)) if math.isfinite(value) else None
