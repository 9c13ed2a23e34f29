"""What is drawn of a run's metrics: few points, and every extreme."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from prefd.daemon.page.series.columns import Columns
from prefd.daemon.page.series.curves import draw_curves, round_number

VALUES = st.one_of(st.none(), st.just(math.nan), st.just(math.inf), st.floats(-1e300, 1e300), st.just("absent"))


def fill(rows: list[dict[str, Any]]) -> Columns:
    columns = Columns()
    for row in rows:
        assert columns.append(row)
    return columns


@given(
    values=st.lists(VALUES, max_size=60),
    points=st.integers(1, 70),
    start=st.integers(0, 130) | st.none(),
    length=st.integers(0, 130) | st.none(),
)
def test_extremes_are_those_of_the_rows_and_every_bad_step_is_told(
    values: list[Any], points: int, start: int | None, length: int | None
) -> None:
    """Rows of steps 1, 3, 5, …; each bucket is compared with its own rows."""
    rows = [
        {"step": 2 * index + 1} | ({} if value == "absent" else {"loss": value}) for index, value in enumerate(values)
    ]
    end = None if start is None or length is None else start + length
    drawn = draw_curves(fill(rows), points, start, end)
    chosen = [row for row in rows if (start is None or row["step"] >= start) and (end is None or row["step"] <= end)]
    buckets = [chosen[position : position + drawn.bucket] for position in range(0, len(chosen), drawn.bucket)]
    assert drawn.rows == len(chosen)
    assert len(buckets) <= points
    assert drawn.step == [bucket[0]["step"] for bucket in buckets]
    bad = [row["step"] for row in chosen if "loss" in row and (row["loss"] is None or not math.isfinite(row["loss"]))]
    assert drawn.bad == ({"loss": bad} if bad else {})
    if "loss" not in drawn.metrics:
        assert all("loss" not in row for row in rows)
        return
    curve = drawn.metrics["loss"]
    for position, bucket in enumerate(buckets):
        finite = [row["loss"] for row in bucket if row.get("loss") is not None and math.isfinite(row["loss"])]
        low, high = (each[position] if each else curve.mean[position] for each in (curve.min, curve.max))
        assert (low, high) == ((round_number(min(finite)), round_number(max(finite))) if finite else (None, None))
        if finite and curve.mean[position] is not None:
            assert (
                min(finite) - abs(min(finite)) * 1e-5 <= curve.mean[position] <= max(finite) + abs(max(finite)) * 1e-5
            )
    assert (curve.min is None) == (drawn.bucket == 1)


def test_a_zoom_comes_to_single_steps_and_a_spike_shows_at_any_scale() -> None:
    spiked = [
        {"step": step, "epoch": step / 500, "time": 1e9 + step, "loss": 9.0 if step == 4321 else 0.5}
        for step in range(1, 10_001)
    ]
    columns = fill(spiked)
    far = draw_curves(columns, 100)
    assert (far.bucket, far.rows, len(far.step)) == (100, 10_000, 100)
    assert far.metrics["loss"].max is not None
    assert [index for index, value in enumerate(far.metrics["loss"].max) if value == 9.0] == [43]
    near = draw_curves(columns, 100, 4300, 4399)
    assert near.step == list(range(4300, 4400))
    assert near.metrics["loss"].mean[21] == 9.0
    assert near.metrics["loss"].min is near.metrics["loss"].max is None
    assert near.time == list(range(10**9 + 4300, 10**9 + 4400))
    assert near.epoch is not None
    assert near.epoch[0] == 8.6
    assert draw_curves(columns, 100, 20_000).step == []


def test_only_the_metrics_that_are_asked_for_are_drawn_and_none_of_what_is_no_number() -> None:
    columns = fill([{"step": 1, "loss": 0.5, "note": "x", "ok": True, "huge": 10**400, "rewards/margins": 1.0}])
    assert columns.keys == ["loss", "huge", "rewards/margins"]
    assert draw_curves(columns, 10).bad == {"huge": [1]}
    drawn = draw_curves(columns, 10, keys=["loss", "unknown"])
    assert drawn.metrics.keys() == {"loss"}
    assert (drawn.time, drawn.epoch) == (None, None)  # of an earlier version


def test_a_row_without_a_step_cannot_be_placed() -> None:
    columns = Columns()
    assert [columns.append(row) for row in ({}, {"step": None}, {"step": True}, {"step": -1}, {"step": 2**80})] == [
        False
    ] * 5
    assert len(columns) == 0
