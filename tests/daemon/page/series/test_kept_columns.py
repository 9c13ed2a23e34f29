"""Columns that are read once, and only as far as a file has grown."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from prefd.daemon.page.series.kept_columns import KeptColumns
from prefd.daemon.page.series.run_columns import RunColumns


def write_lines(path: Path, steps: range, mode: str = "w") -> None:
    with path.open(mode) as file:
        file.writelines(json.dumps({"step": step, "loss": 1 / step}) + "\n" for step in steps)


def read_steps(columns: KeptColumns, path: Path) -> list[int]:
    with columns.reading(path) as run:
        return list(run.train.steps)


def test_only_what_was_added_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    monkeypatch.setattr(
        RunColumns, "_take", lambda self, lines, take=RunColumns._take: (parsed.append(lines), take(self, lines))
    )
    path, columns = tmp_path / "metrics.jsonl", KeptColumns(block=200)
    assert read_steps(columns, path) == []
    write_lines(path, range(1, 101))
    assert read_steps(columns, path) == list(range(1, 101))
    before = path.stat().st_size
    assert b"".join(parsed) == path.read_bytes()
    with path.open("a") as file:
        file.write('{"step": 101, "loss"')  # the worker is writing
    assert read_steps(columns, path)[-1] == 100
    with path.open("a") as file:
        file.write(': 0.5}\nbroken\n[1]\n{"step": 101, "eval_loss": 0.25}\n')
    assert read_steps(columns, path)[-2:] == [100, 101]
    with columns.reading(path) as run:
        assert list(run.eval.values["eval_loss"]) == [0.25]
    assert b"".join(parsed)[before:] == path.read_bytes()[before:]


def test_a_file_that_was_cut_back_or_replaced_is_read_anew(tmp_path: Path) -> None:
    path, columns = tmp_path / "metrics.jsonl", KeptColumns()
    write_lines(path, range(1, 11))
    assert len(read_steps(columns, path)) == 10
    write_lines(tmp_path / "partial", range(1, 6))
    (tmp_path / "partial").replace(path)  # as a run that goes on from its checkpoint does
    assert read_steps(columns, path) == [1, 2, 3, 4, 5]
    write_lines(path, range(7, 9))
    assert read_steps(columns, path) == [7, 8]
    path.unlink()
    assert read_steps(columns, path) == []


def test_runs_that_nobody_asks_for_are_dropped(tmp_path: Path) -> None:
    columns = KeptColumns(max_bytes=2 * 16 * 10)
    for name in "abcba":
        write_lines(tmp_path / name, range(1, 11))
        assert len(read_steps(columns, tmp_path / name)) == 10
        assert len(columns) <= 2
    write_lines(tmp_path / "long", range(1, 1000))
    assert len(read_steps(columns, tmp_path / "long")) == 999
    assert len(columns) == 1


def test_two_who_ask_together_read_a_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    takes: list[int] = []
    monkeypatch.setattr(
        RunColumns, "_take", lambda self, lines, take=RunColumns._take: (takes.append(1), take(self, lines))
    )
    path, columns = tmp_path / "metrics.jsonl", KeptColumns()
    write_lines(path, range(1, 1000))
    threads = [threading.Thread(target=read_steps, args=(columns, path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert takes == [1]
