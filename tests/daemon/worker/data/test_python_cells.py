"""Lists and objects in Python's syntax, as pandas' to_csv writes them: never prose, and the message says what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.mixing import load_pairs
from prefd.daemon.worker.data.pairs import LoadedPairs
from prefd.daemon.worker.data.rows import DataError
from support.dataset_rows import TRIPLES, Row
from support.dataset_shapes import SHAPES, rows_of
from support.reading_rows import FORMATS, as_messages, read, texts_of_pairs
from support.row_files import write_rows

REPR = "Python's repr", "text that was written as a list"
"""What is said of columns and prompts, and of sides."""


def as_python(value: Any) -> Any:
    return value if isinstance(value, str | int | float | None) else str(value)


def load(path: Path) -> LoadedPairs | DataError:
    try:
        return load_pairs(DataSpec(path=str(path)), FORMATS)
    except DataError as error:
        return error


@pytest.mark.parametrize("name", SHAPES)
def test_a_csv_of_a_known_shape_is_read_to_its_pairs_or_told_as_what_it_is(tmp_path: Path, name: str) -> None:
    rows = [{column: as_python(value) for column, value in row.items()} for row in rows_of(SHAPES[name])]
    dataset = load(write_rows(tmp_path / "a.csv", rows))
    if isinstance(dataset, DataError):
        assert any(words in str(dataset) for words in REPR)
        return
    assert texts_of_pairs(dataset.pairs) == [(triple.better, triple.worse) for triple in TRIPLES]
    assert [as_messages(pair) for _, pair in dataset.pairs] == [SHAPES[name].prompt(triple) for triple in TRIPLES]


PAIR = {"prompt": "Q", "chosen": "a", "rejected": "b"}


@pytest.mark.parametrize(
    ("column", "cell", "row"),
    [
        ("completions", [{"text": "a", "score": 2}, {"text": "b", "score": 1}], {"prompt": "Q"}),
        ("responses", "['Yes, of course.' 'No.']", {"prompt": "Q", "scores": "[1, 2]"}),
        ("responses", np.array(["Yes", "No"], dtype=object).__repr__(), {"prompt": "Q", "scores": "[1, 2]"}),
        ("ratings", "[nan, 2.0]", {"prompt": "Q", "generations": '["Yes", "No"]'}),
        ("info", {"post": "A post."}, {"summaries": '[{"text": "a"}, {"text": "b"}]', "choice": 0}),
        ("question", {"full_text": "Why?"}, {"answer_0": "a", "answer_1": "b", "score_0": 1, "score_1": -1}),
        (
            "conversation_a",
            "[{'content': 'Hi', 'role': 'user'}\n {'content': 'Ho', 'role': 'assistant'}]",
            {"winner": "a"},
        ),
        (
            "messages",
            [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}],
            {"rejected_response": "b"},
        ),
        ("conversations", [{"from": "human", "value": "Hi"}], {"chosen": "a", "rejected": "b"}),
        ("conversation", [{"input": "Hi", "output": "Ho"}], {"chosen": "a", "rejected": "b"}),
        ("conversation", [("Hi", "Ho")], {"chosen": "a", "rejected": "b"}),
        ("prompt", [("human", "Hi")], {"chosen": "a", "rejected": "b"}),
        ("question", [["user", "Hi"]], {"chosen": "a", "rejected": "b"}),
    ],
)
def test_the_column_is_named_with_what_to_write(column: str, cell: Any, row: Row) -> None:
    with pytest.raises(DataError) as caught:
        read([row | {column: as_python(cell)}] * 3)
    leaving = f", or leave it out (data.ignore_columns: [{column}])" if "chosen" in row and column != "prompt" else ""
    assert str(caught.value) == (
        f"data.path: ROWS: the column {column!r} is Python's repr of lists or objects (rows 1, 2, 3); write JSON (json.dumps of "
        f"each, or DataFrame.to_json(orient='records', lines=True)){leaving}"
    )


def test_the_datasets_own_name_is_told() -> None:
    rows = [{"Q": "{'full_text': 'Why?'}", "chosen": "a", "rejected": "b"}]
    with pytest.raises(DataError, match=r"the column 'Q' is Python's repr of lists or objects"):
        read(rows, prompt_feature="Q")


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("generations", ["['x', 'y']"] * 3),
        ("metadata", ["{'a': 1}"] * 3),
        ("answers", ["['a'", "plain", "[1, 2]"]),
    ],
)
def test_what_no_pair_is_made_of_hinders_nothing(column: str, cells: list[str]) -> None:
    dataset = read([PAIR | {"prompt": f"Q{cell}", column: cell} for cell in cells])
    assert len(dataset.pairs) == 3


@pytest.mark.parametrize("prompt", ["{'a': 3, 'b': 1}", "[{'a': 3}]", "{'x'} | {'y'}", "(1, 2)", "['text']['text']"])
def test_code_of_pythons_is_a_prompt(prompt: str) -> None:
    rows = [{"instruction": "Sort this.", "input": prompt, "chosen": f"{prompt} sorted", "rejected": "b"}]
    assert [pair.prompt for _, pair in read(rows).pairs] == [f"Sort this.\n{prompt}"]


def test_a_few_such_cells_are_texts() -> None:
    rows = [PAIR | {"prompt": "Why?"}] * 3 + [
        PAIR | {"prompt": "{'text': 'x'} means what?"},
        PAIR | {"prompt": "{'text': 'x'}"},
    ]
    assert len(read(rows).pairs) == 5


def test_sides_are_told_of_row_by_row() -> None:
    dataset = read([PAIR | {"prompt": "['Q']"}, PAIR])
    assert [str(reason).partition(";")[0] for _, reason in dataset.unusable] == [
        "the prompt is Python's repr of a list"
    ]
