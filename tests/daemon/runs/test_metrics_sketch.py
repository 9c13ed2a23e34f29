"""The course of a run in a few numbers, kept up with as its metrics grow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefd.daemon.runs.metrics_sketch import MOST_MEANS, Means, MetricsSketch


@given(st.lists(st.integers(-1000, 1000), max_size=400), st.integers(1, 50))
def test_means_are_of_equally_many_values_whatever_came_at_once(values: list[int], at_once: int) -> None:
    means = Means()
    for begin in range(0, len(values), at_once):
        means.extend(values[begin : begin + at_once])
    buckets = [values[begin : begin + means.width] for begin in range(0, len(values), means.width)]
    assert len(buckets) <= MOST_MEANS
    assert means.width == 1 or len(buckets) > MOST_MEANS / 2
    assert means.list() == [float(f"{sum(bucket) / len(bucket):.6g}") for bucket in buckets]
    assert len(means) == len(values)


def test_it_has_the_newest_rows_and_reads_only_what_was_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    sketch = MetricsSketch(path, block=100)
    sketch.update()
    assert (sketch.losses.list(), sketch.last, sketch.evaluation) == ([], None, None)
    rows = [{"step": step, "loss": step / 4, "loss/sft": 7.0, "eval": 1} for step in (1, 2, 3)]
    lines = [json.dumps(row) + "\n" for row in (*rows[:2], {"step": 2, "eval_loss": 9.5}, rows[2])]
    path.write_text("".join(lines))
    sketch.update()
    assert sketch.losses.list() == [0.25, 0.5, 0.75]
    assert (sketch.last, sketch.evaluation) == (rows[2], {"step": 2, "eval_loss": 9.5})
    read: list[bytes] = []
    monkeypatch.setattr(
        MetricsSketch, "_take", lambda self, lines, take=MetricsSketch._take: (read.append(lines), take(self, lines))
    )
    with path.open("a") as file:
        file.write('{"step": 4, "loss": null}\n{"step": 5, "loss": -1e-05}\n{"step": 6, "lo')
    sketch.update()
    assert sketch.losses.list() == [0.25, 0.5, 0.75, -1e-05]  # what is not finite is no part of a mean
    assert sketch.last == {"step": 5, "loss": -1e-05}
    assert b"".join(read).count(b"\n") == 2
    path.write_text(lines[0])  # cut back to a checkpoint
    sketch.update()
    assert (sketch.losses.list(), sketch.last, sketch.evaluation) == ([0.25], rows[0], None)
    path.unlink()
    sketch.update()
    assert sketch.last is None
