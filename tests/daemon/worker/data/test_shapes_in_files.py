"""Every known shape is read as the same pairs out of every type of file, tables with padded structs included."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.mixing import load_pairs
from prefd.daemon.worker.data.rows import DataError
from support.dataset_rows import TRIPLES, Row
from support.dataset_shapes import SHAPES, rows_of
from support.reading_rows import FORMATS, as_messages, texts
from support.row_files import write_arrow, write_rows


def lines(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def write_gzip(path: Path, rows: list[Row]) -> None:
    path.write_bytes(gzip.compress(lines(rows)))


def write_zstd(path: Path, rows: list[Row]) -> None:
    with pa.output_stream(str(path), compression="zstd") as file:
        file.write(lines(rows))


def write_list(path: Path, rows: list[Row]) -> None:
    path.write_text(json.dumps(rows), encoding="utf-8")


def write_parquet(path: Path, rows: list[Row]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


def save(path: Path, rows: list[Row]) -> None:
    datasets.Dataset.from_list(rows).save_to_disk(path)


WRITERS: dict[str, Callable[[Path, list[Row]], Any]] = {
    "a.jsonl.gz": write_gzip,
    "a.jsonl.zst": write_zstd,
    "a.json": write_list,
    "a.parquet": write_parquet,
    "a.arrow": write_arrow,
    "saved": save,
    "a.csv": write_rows,
}
WRAPPED = "lists of one answer"
"""The shape whose sides cannot be told from texts in brackets where every cell is text: refused in a CSV file."""


@pytest.mark.parametrize("file", WRITERS)
def test_a_shape_is_read_as_the_same_pairs_out_of_every_file(
    tmp_path: Path, file: str, subtests: pytest.Subtests
) -> None:
    for number, name in enumerate(SHAPES):
        folder = tmp_path / str(number)
        folder.mkdir()
        with subtests.test(name):
            check_shape(folder, name, file)


def check_shape(tmp_path: Path, name: str, file: str) -> None:
    rows = rows_of(SHAPES[name])
    WRITERS[file](tmp_path / file, rows)
    if (name, file) == (WRAPPED, "a.csv"):
        with pytest.raises(DataError, match="text that was written as a list"):
            load_pairs(DataSpec(path=str(tmp_path / file)), FORMATS)
        return
    dataset = load_pairs(DataSpec(path=str(tmp_path / file)), FORMATS)
    assert len(dataset.unusable) == 0
    assert [as_messages(pair) for _, pair in dataset.pairs] == [SHAPES[name].prompt(triple) for triple in TRIPLES]
    assert texts(dataset) == [(triple.better, triple.worse) for triple in TRIPLES]
