"""The data files that people reported of other trainers, as they lie in the shared folder, each read or refused as it should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.mixing import load_pairs
from prefd.daemon.worker.data.rows import DataError
from prefd.plugins import formats
from prefd.plugins.types import RowFormat
from support.paths import FAULTS

FORMATS: dict[str, RowFormat] = {}
formats.register_formats(FORMATS.__setitem__)
COLOURS = [
    ("Say red.", "red it is", "never"),
    ("Say blue.", "blue it is", "never"),
    ("Say green.", "green it is", "never"),
]
LETTER = [("Say a", "a", "b")]
DOCUMENT = "d.jsonl: a JSON document, where its name promises an object a line; it was read as such"

READ: dict[str, tuple[list[tuple[str, str, str]], list[str], list[str]]] = {
    "20-gz/train.jsonl.gz": (COLOURS, ["train.jsonl.gz:1", "train.jsonl.gz:2", "train.jsonl.gz:3"], []),
    "20b-tsv/d.tsv": (LETTER, ["d.tsv:2"], []),
    "21-csv-semicolon/d.csv": (
        LETTER,
        ["d.csv:2"],
        ["d.csv: its cells are separated by a semicolon, and were read so"],
    ),
    "21b-csv-tab/d.csv": (LETTER, ["d.csv:2"], ["d.csv: its cells are separated by a tab, and were read so"]),
    "22-json-list-in-jsonl/d.jsonl": (COLOURS, ["d.jsonl:2", "d.jsonl:7", "d.jsonl:12"], [DOCUMENT]),
    "22b-json-list-one-line-in-jsonl/d.jsonl": (COLOURS, [f"d.jsonl row {n}" for n in (1, 2, 3)], [DOCUMENT]),
    "22c-json-wrapper/d.json": (
        COLOURS,
        [f"d.json row {n}" for n in (1, 2, 3)],
        ["d.json: its rows were read from under 'data'"],
    ),
    "22d-json-split-wrapper/d.json": (
        COLOURS,
        [f"d.json row {n}" for n in (1, 2, 3)],
        ["d.json: its rows were read from under 'train', and not 'test'"],
    ),
    "22e-json-columns/d.json": (
        COLOURS,
        [f"d.json row {n}" for n in (1, 2, 3)],
        ["d.json: a list for each column; read as its rows"],
    ),
    "22f-json-pandas/d.json": (
        COLOURS,
        [f"d.json row {n}" for n in (1, 2, 3)],
        ['d.json: written by pandas with orient="columns"; read as its rows'],
    ),
    "23-save-to-disk/ds": (COLOURS, ["ds row 1", "ds row 2", "ds row 3"], []),
    "23c-folder-with-meta": (COLOURS, ["pairs.jsonl:1", "pairs.jsonl:2", "pairs.jsonl:3"], []),
}


def case(name: str) -> Path:
    path = FAULTS / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


@pytest.mark.parametrize("name", READ)
def test_what_can_be_read_is_and_what_had_to_be_decided_is_said(name: str) -> None:
    dataset = load_pairs(DataSpec(path=str(case(name))), FORMATS)
    pairs, places, notes = READ[name]
    assert [(pair.prompt, pair.chosen, pair.rejected) for _, pair in dataset.pairs] == pairs
    assert [str(dataset.places[row - 1]) for row, _ in dataset.pairs] == places
    assert dataset.notes == notes


def test_rows_are_named_by_file_and_line() -> None:
    dataset = load_pairs(DataSpec(path=str(case("45-row-numbers/d"))), FORMATS)
    bad = [place for each in dataset.unusable.summarize().values() for place in each.places]
    assert bad == ["a.jsonl:4", "b.jsonl:2"]


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        ("24g-empty-parquet/a.parquet", {}, "data.path: PATH: the file is empty: it has no rows"),
        (
            "41-specs/pairs.jsonl",
            {"prompt_feature": "question"},
            "data.prompt_feature: PATH has no column 'question'; its columns: ",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_with_why(name: str, spec: dict[str, str], message: str) -> None:
    path = str(case(name))
    with pytest.raises(DataError) as caught:
        load_pairs(DataSpec.model_validate({"path": path} | spec), FORMATS)
    assert str(caught.value).replace(path, "PATH").startswith(message)
