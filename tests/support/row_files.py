"""Rows in files of every type, and what reading them gives."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefd.daemon.specs.data_sources import Source
from prefd.daemon.worker.data.rows import DataError, Rows, read_rows
from prefd.plugins.types import UnusableRow

ROWS: list[dict[str, Any]] = [
    {"prompt": "Q1", "chosen": "a", "rejected": "b"},
    {"prompt": "Q2", "chosen": "None", "rejected": "2020-01-01"},
    {"prompt": "Q3", "chosen": "01", "rejected": "line\nbreak, “é”"},
]
MESSAGES = [{"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "rejected": "b"}]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(
            {k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items() if v is not None} for row in rows
        )


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """`rows` at `path`, in the format of its suffix; messages in a CSV file as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    elif path.suffix == ".csv":
        write_csv(path, rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def write_arrow(path: Path, rows: list[dict[str, Any]], stream: bool = True, batch: int = 2) -> Path:
    table = pa.Table.from_pylist(rows)
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with new(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=batch)
    return path


def find_rows(source: Path | str, *splits: str, **more: Any) -> Rows:
    return read_rows(Source("data.path", str(source), splits or ("train",), **more))


def read(source: Path | str, *splits: str, **more: Any) -> list[Any]:
    rows = find_rows(source, *splits, **more).rows
    return [str(row) if isinstance(row, UnusableRow) else dict(row) for row in rows]


def failure(source: Path | str, *splits: str, **more: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(source, *splits, **more)
    return str(caught.value)
