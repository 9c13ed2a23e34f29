"""JSON files: an object a line, a document, and every wrapping that people put around rows: read where certain, and said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas
import pytest

from prefd.plugins.types import UnusableRow
from support.row_files import ROWS, failure, find_rows

COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}
INDEXED = {name: {str(index): row[name] for index, row in enumerate(ROWS)} for name in ROWS[0]}
SPLIT = {"columns": list(ROWS[0]), "index": [0, 1, 2], "data": [list(row.values()) for row in ROWS]}
AS_DOCUMENT = "a JSON document, where its name promises an object a line; it was read as such"

WRAPPED: dict[str, tuple[Any, str]] = {
    "under data": ({"data": ROWS}, "its rows were read from under 'data'"),
    "under a key with facts beside it": (
        {"version": "1.0", "license": {"name": "mit"}, "data": ROWS},
        "its rows were read from under 'data'",
    ),
    "under the only key": ({"preference_pairs": ROWS}, "its rows were read from under 'preference_pairs'"),
    "as the hub's viewer": (
        {"features": [{"name": "prompt"}], "rows": [{"row_idx": i, "row": row} for i, row in enumerate(ROWS)]},
        "its rows were read from under 'rows'",
    ),
    "under train": ({"train": ROWS}, "its rows were read from under 'train'"),
    "by split": ({"train": ROWS, "test": ROWS[:1]}, "its rows were read from under 'train', and not 'test'"),
    "under data, by split": ({"data": {"train": ROWS}}, "its rows were read from under 'train'"),
    "by column": (COLUMNS, "a list for each column; read as its rows"),
    "by split and column": ({"train": COLUMNS}, "a list for each column; read as its rows"),
    "pandas, columns": (INDEXED, 'written by pandas with orient="columns"; read as its rows'),
    "pandas, index": (
        {str(index): row for index, row in enumerate(ROWS)},
        'written by pandas with orient="index"; read as its rows',
    ),
    "rows by name": (
        {f"row-{index}": row for index, row in enumerate(ROWS)},
        "an object of rows by their names; read as its rows",
    ),
    "pandas, split": (SPLIT, 'written by pandas with orient="split"; read as its rows'),
    "pandas, table": ({"schema": {"fields": []}, "data": ROWS}, "its rows were read from under 'data'"),
}


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize(("document", "note"), WRAPPED.values(), ids=list(WRAPPED))
def test_wrapped_rows_are_read_and_that_is_said(tmp_path: Path, name: str, document: Any, note: str) -> None:
    read = find_rows(write(tmp_path / name, json.dumps(document)))
    assert read.rows == ROWS
    assert f"{name}: {note}" in read.notes
    assert list(map(str, read.places)) == [f"{name} row {number}" for number in (1, 2, 3)]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Q", "chosen": "a", "rejected": "b", "tools": [{"type": "function"}]},
        {"chosen": [{"role": "user", "content": "Q"}], "rejected": [{"role": "user", "content": "Q"}]},
        {"conversations": [{"from": "human", "value": "Q"}], "chosen": {"from": "gpt", "value": "a"}, "rejected": {}},
        {"prompt": "Q", "answers": [{"text": "a", "score": 1}], "tools": []},
    ],
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_one_row_is_not_taken_for_a_wrapping(tmp_path: Path, name: str, row: dict[str, Any]) -> None:
    read = find_rows(write(tmp_path / name, json.dumps(row)))
    assert (read.rows, read.notes) == ([row], [])


def test_a_list_under_a_name_that_promises_lines_is_read_and_said(tmp_path: Path) -> None:
    for text, places in (
        (json.dumps(ROWS), ["a.jsonl row 1", "a.jsonl row 2", "a.jsonl row 3"]),
        (json.dumps(ROWS, indent=2), ["a.jsonl:2", "a.jsonl:7", "a.jsonl:12"]),
        ("\n\n" + json.dumps(ROWS, indent=2), ["a.jsonl:4", "a.jsonl:9", "a.jsonl:14"]),
    ):
        read = find_rows(write(tmp_path / "a.jsonl", text))
        assert (read.rows, read.notes) == (ROWS, [f"a.jsonl: {AS_DOCUMENT}"])
        assert list(map(str, read.places)) == places


def test_objects_over_several_lines_are_rows(tmp_path: Path) -> None:
    read = find_rows(write(tmp_path / "a.jsonl", "\n".join(json.dumps(row, indent=1) for row in ROWS)))
    assert read.rows == ROWS
    assert list(map(str, read.places)) == ["a.jsonl:1", "a.jsonl:6", "a.jsonl:11"]


def test_a_json_list_names_lines_only_where_each_row_has_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert list(map(str, find_rows(write(path, json.dumps(ROWS, indent=1))).places)) == [
        "a.json:2",
        "a.json:7",
        "a.json:12",
    ]
    text = "[\n" + ", ".join(map(json.dumps, ROWS)) + "\n]"
    assert list(map(str, find_rows(write(path, text)).places)) == ["a.json row 1", "a.json row 2", "a.json row 3"]


def test_blank_lines_count_as_lines_and_are_no_rows(tmp_path: Path) -> None:
    read = find_rows(write(tmp_path / "a.jsonl", '\ufeff\n{"a": 1}\n\n \t\n{oops\n\n{"a": 2}'))
    assert list(map(str, read.places)) == ["a.jsonl:2", "a.jsonl:5", "a.jsonl:7"]
    assert [str(row) for row in read.rows if isinstance(row, UnusableRow)] == ["not JSON"]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_a_key_that_is_there_twice_loses_no_value_in_silence(tmp_path: Path, name: str) -> None:
    twice = '{"prompt": "Q", "chosen": "a", "rejected": "b", "chosen": "c"}'
    for text in (f"[{twice}, {json.dumps(ROWS[0])}]", f"{twice}\n{json.dumps(ROWS[0])}\n"):
        rows = find_rows(write(tmp_path / name, text)).rows
        assert (str(rows[0]), rows[1]) == ("the key 'chosen' is there twice", ROWS[0])


def test_nul_bytes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b"\0" * 40)
    assert str(find_rows(path).rows[1]) == "not JSON, but NUL bytes"


def test_pythons_repr_is_told_as_what_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", "".join(f"{row!r}\n" for row in ROWS))
    assert {str(row) for row in find_rows(path).rows} == {"Python's repr and not JSON (write it with json.dumps)"}
    message = "Python's repr and not JSON (write it with json.dumps): Expecting property name enclosed in double quotes"
    assert failure(write(tmp_path / "a.json", repr(ROWS))).startswith(f"{tmp_path / 'a.json'}: {message}")


def test_the_split_that_is_asked_for_is_read(tmp_path: Path) -> None:
    for name in ("a.json", "a.jsonl"):
        path = write(tmp_path / name, json.dumps({"train_prefs": ROWS, "test_prefs": ROWS[:1]}))
        assert find_rows(path, "test_prefs").rows == ROWS[:1]
        assert failure(path) == (
            f"{path}: it holds no rows under 'train', but under train_prefs, test_prefs; name one: data.split: train_prefs"
        )
    held_out = write(tmp_path / "b.json", json.dumps({"train": ROWS, "dev": ROWS[:1]}))
    assert find_rows(held_out, "validation", "test").rows == ROWS[:1]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"data": []}, "the file is empty: it has no rows"),
        ({"train": []}, "the file is empty: it has no rows"),
        (
            {"prompt": ["Q", "R"], "chosen": ["a"]},
            "a list for each column, of different lengths (prompt 2, chosen 1); write a list of objects",
        ),
    ],
)
def test_what_cannot_be_rows_is_refused(tmp_path: Path, document: Any, expected: str) -> None:
    for name in ("a.json", "a.jsonl"):
        path = write(tmp_path / name, json.dumps(document))
        assert failure(path) == f"{path}: {expected}"


class TestPandas:
    """A frame's `to_json()` without arguments: an object of columns, each an object of cells by the rows' labels."""

    FRAME = pandas.DataFrame(ROWS)

    @pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
    @pytest.mark.parametrize(
        ("labels", "order"),
        [([0, 1, 2], [2, 0, 1]), ([10, 5, 7], [0, 1, 2]), ([-1, 0, 1], [1, 2, 0]), ([0.5, 1.0, 2.5], [2, 1, 0])],
    )
    def test_rows_are_brought_together_by_their_labels_in_the_files_order(
        self, tmp_path: Path, name: str, labels: list[float], order: list[int]
    ) -> None:
        self.FRAME.set_axis(labels).iloc[order].to_json(tmp_path / name)
        read = find_rows(tmp_path / name)
        assert read.rows == [ROWS[place] for place in order]
        assert f'{name}: written by pandas with orient="columns"; read as its rows' in read.notes

    def test_columns_whose_labels_stand_in_another_order_are_brought_together(self, tmp_path: Path) -> None:
        text = '{"prompt": {"0": "Q1", "1": "Q2"}, "chosen": {"1": "c", "0": "a"}, "rejected": {"0": "b", "1": "d"}}'
        rows = [{"prompt": "Q1", "chosen": "a", "rejected": "b"}, {"prompt": "Q2", "chosen": "c", "rejected": "d"}]
        assert find_rows(write(tmp_path / "a.json", text)).rows == rows

    def test_rows_with_names_are_refused_with_what_to_write(self, tmp_path: Path) -> None:
        self.FRAME.set_axis(["first", "second", "third"]).to_json(tmp_path / "a.json")
        assert failure(tmp_path / "a.json").endswith(
            "it looks as pandas writes it with orient=\"columns\", an object of columns whose rows are named 'first', "
            "'second', 'third'; write it with to_json(orient=\"records\", lines=True)"
        )

    @pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
    def test_cells_without_the_names_of_their_columns_are_refused_with_what_to_write(
        self, tmp_path: Path, name: str
    ) -> None:
        self.FRAME.to_json(tmp_path / name, orient="values")
        assert failure(tmp_path / name) == (
            f'{tmp_path / name}: a list of lists with 3 cells each, as pandas writes with orient="values": the names of the '
            'columns are not in it; write it with to_json(orient="records", lines=True), or a list of objects'
        )

    def test_columns_with_other_rows_are_refused(self, tmp_path: Path) -> None:
        text = '{"prompt": {"0": "Q1", "1": "Q2"}, "chosen": {"0": "a"}, "rejected": {"0": "b"}}'
        assert failure(write(tmp_path / "a.json", text)).endswith(
            "written by pandas with orient=\"columns\", and 'chosen' has other rows than 'prompt'; write it with "
            'to_json(orient="records", lines=True)'
        )

    @pytest.mark.parametrize("key", ["", "x"])
    def test_a_row_with_an_empty_list_is_one(self, tmp_path: Path, key: str) -> None:
        assert find_rows(write(tmp_path / "a.jsonl", json.dumps({key: []}))).rows == [{key: []}]
