"""The last rows of metrics are those that all rows end with, and of a long file only the end is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefd.daemon.runs import metrics_rows
from prefd.daemon.runs.metrics_rows import read_last_rows, read_metrics_rows
from prefd.daemon.runs.run_folder import RunDir

row = st.builds(
    lambda step, evaluates, note: {"step": step, ("eval_loss" if evaluates else "loss"): 0.5, "note": note},
    st.integers(0, 999),
    st.booleans(),
    st.sampled_from(["", "ä" * 40, '"eval_', "x" * 300]),
)


@given(rows=st.lists(row, max_size=30), count=st.integers(1, 12), block=st.integers(1, 400), cut=st.booleans())
def test_the_last_rows_are_those_that_all_rows_end_with(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], count: int, block: int, cut: bool
) -> None:
    run = RunDir(tmp_path_factory.mktemp("run"))
    text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in rows) + ('{"step": 1, "lo' if cut else "")
    run.metrics.write_text(text, encoding="utf-8")
    train, evals = read_metrics_rows(run)
    assert read_last_rows(run, count, block=block) == (train[-count:], evals[-count:])


def test_a_run_without_metrics_has_no_rows(tmp_path: Path) -> None:
    assert read_last_rows(RunDir(tmp_path), 3) == ([], [])


def test_of_a_long_file_only_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """20,000 rows, an evaluation at the end of each 1,000: the last two of both are in the last tenth."""
    run = RunDir(tmp_path)
    with run.metrics.open("w") as file:
        for step in range(1, 20_001):
            file.write(json.dumps({"step": step, "loss": 0.5}) + "\n")
            if step % 1000 == 0:
                file.write(json.dumps({"step": step, "eval_loss": 0.5}) + "\n")
    read: list[int] = []
    real = metrics_rows._read_back

    def count(file: Any, size: int) -> Any:
        for block in real(file, size):
            read.append(len(block))
            yield block

    monkeypatch.setattr(metrics_rows, "_read_back", count)
    train, evals = read_last_rows(run, 2, block=4096)
    assert ([each["step"] for each in train], [each["step"] for each in evals]) == ([19999, 20000], [19000, 20000])
    assert sum(read) < run.metrics.stat().st_size / 10
    read.clear()
    assert read_last_rows(run, 2, evaluations=False, block=4096)[0] == train
    assert sum(read) <= 8192


@pytest.mark.parametrize(
    "line", ['{"step": "x", "loss": 1}', '{"step": 2, "loss": "0.5"}', '{"loss": {"a": 1}}', '{"step": true}', "[]"]
)
def test_what_is_no_number_in_a_line_that_was_appended_by_hand_is_passed_over(tmp_path: Path, line: str) -> None:
    run = RunDir(tmp_path)
    run.metrics.write_text('{"step": 1, "loss": 0.5}\n' + line + "\n")
    for row in read_metrics_rows(run)[0]:
        assert all(type(value) in (int, float) for value in row.values())
    assert read_metrics_rows(run)[0][0] == {"step": 1, "loss": 0.5}
