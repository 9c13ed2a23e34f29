"""Files that are not what their names say, and rows that stand one level deeper: told of with the remedy."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.prepare import load_pairs
from prefd.daemon.worker.data.rows import DataError
from support.dataset_rows import TRIPLES
from support.reading_rows import FORMATS

ROWS = [{"prompt": t.question, "chosen": t.better, "rejected": t.worse} for t in TRIPLES]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
TABLE = "prompt,chosen,rejected\nq,b,w\n"


def refusal(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as refused:
        load_pairs(DataSpec(path=str(path)), FORMATS)
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", LINES, "it holds JSON, whatever its name says; name it .jsonl"),
        ("a.csv", json.dumps(ROWS, indent=1), "it holds JSON, whatever its name says"),
        ("a.parquet", LINES, "it holds JSON, whatever its name says; name it .jsonl"),
        ("a.arrow", LINES, "it holds JSON, whatever its name says"),
        ("a.jsonl", TABLE, "it looks like a table with the columns prompt, chosen, rejected; name it .csv"),
        (
            "a.json",
            TABLE.replace(",", "\t"),
            "it looks like a table with the columns prompt, chosen, rejected; name it .tsv",
        ),
        ("a.jsonl.gz", gzip.compress(gzip.compress(LINES.encode())), "is compressed again; unpack it once"),
        (
            "a.jsonl",
            "".join(json.dumps([*row.values()]) + "\n" for row in ROWS),
            "not a JSON object, but a list: write each row",
        ),
        (
            "a.jsonl",
            "".join(json.dumps(json.dumps(row)) + "\n" for row in ROWS),
            "not a JSON object, but text: an object that was",
        ),
    ],
)
def test_a_file_that_its_name_misnames(tmp_path: Path, name: str, content: Any, words: str) -> None:
    assert words in refusal(tmp_path / name, content)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"version": 1, "stuff": ROWS}, "has its rows under 'stuff'; write that list alone"),
        ([{"id": 1, "example": row} for row in ROWS], "has its columns under 'example'; write them as columns"),
    ],
)
def test_rows_that_stand_deeper_are_pointed_at(tmp_path: Path, document: Any, words: str) -> None:
    assert words in refusal(tmp_path / "a.json", json.dumps(document))


def test_rows_that_the_hubs_viewer_has_cut_are_not_trained_on(tmp_path: Path) -> None:
    shown = [
        {"row_idx": 0, "row": ROWS[0], "truncated_cells": ["chosen"]},
        {"row_idx": 1, "row": ROWS[1], "truncated_cells": []},
    ]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"features": [], "rows": shown}))
    dataset = load_pairs(DataSpec(path=str(path)), FORMATS)
    assert [number for number, _ in dataset.pairs] == [2]
    assert dataset.unusable.lines() == [
        "1 × the hub's viewer has cut its chosen: fetch the dataset's own file (a.json row 1)"
    ]
