"""Parquet, Arrow and `save_to_disk`: typed rows, counted in their split; empty and damaged ones refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefd.daemon.specs.data_sources import Source
from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.mixing import load_pairs
from prefd.daemon.worker.data.rows import DataError, read_rows
from support.dataset_rows import TRIPLES
from support.reading_rows import FORMATS
from support.row_files import MESSAGES, ROWS, failure, find_rows, read, write_arrow


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A DatasetDict as `datasets` itself saves it, its train split in two files."""
    whole = datasets.DatasetDict(
        {"train": datasets.Dataset.from_list(ROWS), "test": datasets.Dataset.from_list(ROWS[:1])}
    )
    whole.save_to_disk(tmp_path / "saved", num_shards={"train": 2, "test": 1})
    return tmp_path / "saved"


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "file"])
def test_arrow_files_of_both_formats(tmp_path: Path, stream: bool) -> None:
    got = find_rows(write_arrow(tmp_path / "pairs.arrow", ROWS, stream))
    assert got.rows == ROWS
    assert list(map(str, got.places)) == ["pairs.arrow row 1", "pairs.arrow row 2", "pairs.arrow row 3"]
    assert read(write_arrow(tmp_path / "messages.arrow", MESSAGES, stream)) == MESSAGES


def test_an_arrow_file_that_is_cut_is_refused_even_between_two_batches(tmp_path: Path) -> None:
    path = tmp_path / "pairs.arrow"
    first, rest = (pa.RecordBatch.from_pylist(rows) for rows in (ROWS[:1], ROWS[1:]))
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, first.schema) as writer:
        writer.write_batch(first)
        between = file.tell()
        writer.write_batch(rest)
    whole = path.read_bytes()
    assert find_rows(path).rows == ROWS
    for length, why in ((between, "it ends too early; fetch it again"), (between + 30, "not an arrow file")):
        path.write_bytes(whole[:length])
        assert failure(path).startswith(f"{path}: {why}")
    path.write_bytes(b"")
    assert failure(path) == f"{path}: the file is empty: it has no rows"


def test_tables_without_rows_say_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    schema = pa.schema([("prompt", pa.string()), ("chosen", pa.string())])
    pq.write_table(schema.empty_table(), tmp_path / "a.parquet")
    with pa.ipc.new_stream(str(tmp_path / "a.arrow"), schema):
        pass
    for name in ("a.parquet", "a.arrow"):
        assert failure(tmp_path / name) == f"{tmp_path / name}: the file is empty: it has no rows"
    assert capfd.readouterr().err == ""


def test_rows_of_parquet_are_counted_through_its_groups(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet", row_group_size=1)
    assert list(map(str, find_rows(tmp_path / "a.parquet").places))[-1] == "a.parquet row 3"


def test_what_datasets_keeps_as_json_is_what_was_written(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"chosen": "text", "tools": [{"a": {"x": None}}, {"a": 1}], "more": {"kwargs": [1, "b"]}},
        {"chosen": [{"role": "user"}], "tools": None, "more": None},
    ]
    whole = datasets.Dataset.from_list(rows, on_mixed_types="use_json")
    assert "Json" in str(whole.features)
    whole.save_to_disk(tmp_path / "saved")
    whole.to_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "saved") == read(tmp_path / "a.parquet") == rows


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.table([["a"], ["b"]], names=["chosen", "chosen"])
    pq.write_table(table, tmp_path / "a.parquet")
    assert failure(tmp_path / "a.parquet").endswith("two columns have the same name: chosen, chosen")


class TestSaveToDisk:
    def test_the_split_that_is_asked_for_and_which_are_not_read(self, saved: Path) -> None:
        got = find_rows(saved)
        assert got.rows == ROWS
        assert list(map(str, got.places)) == ["train row 1", "train row 2", "train row 3"]
        assert got.notes == ["saved: the split train is read, and not test"]
        assert find_rows(saved, "validation", "test").rows == ROWS[:1]

    def test_a_dataset_without_splits(self, saved: Path) -> None:
        got = find_rows(saved / "train")
        assert (got.rows, got.notes) == (ROWS, [])
        assert str(got.places[2]) == "train row 3"
        assert find_rows(saved / "train", "other").notes == ["train: saved without splits: 'other' means nothing there"]

    def test_a_held_out_split(self, saved: Path) -> None:
        assert read_rows(Source("data.validation_split", str(saved), ("test",))).rows == ROWS[:1]
        with pytest.raises(
            DataError, match=r"no split 'dev' was saved, but train, test; name one of them \(data\.valid"
        ):
            read_rows(Source("data.validation_split", str(saved), ("dev",)))
        with pytest.raises(DataError, match=r"a dataset that was saved without splits; give data\.validation the path"):
            read_rows(Source("data.validation_split", str(saved / "train"), ("test",)))

    def test_files_that_map_leaves_beside_it_are_not_read(self, saved: Path) -> None:
        write_arrow(saved / "train" / "cache-0123456789abcdef.arrow", ROWS)
        assert find_rows(saved).rows == ROWS

    def test_a_split_that_was_not_saved(self, saved: Path) -> None:
        assert failure(saved, "train_prefs") == (
            f"{saved}: no split 'train_prefs' was saved, but train, test; name one of them (data.split)"
        )
        (saved / "dataset_dict.json").write_text(json.dumps({"splits": ["train_sft", "train_prefs"]}))
        assert failure(saved) == (
            f"{saved}: no split 'train' was saved, but train_sft, train_prefs; name one: data.split: train_sft"
        )

    def test_a_file_of_it_that_is_gone(self, saved: Path) -> None:
        gone = saved / "train" / "data-00001-of-00002.arrow"
        gone.unlink()
        assert failure(saved) == (
            f"{gone}: no such file, though {saved / 'train' / 'state.json'} names it; save the dataset again"
        )

    def test_rows_that_only_indices_choose_are_refused(self, saved: Path) -> None:
        state = saved / "train" / "state.json"
        state.write_text(json.dumps(json.loads(state.read_text()) | {"_indices_data_files": [{"filename": "i.arrow"}]}))
        assert "only some of its rows belong to it (_indices_data_files)" in failure(saved)

    def test_names_that_lead_out_of_it_are_refused(self, saved: Path) -> None:
        state = saved / "train" / "state.json"
        state.write_text(json.dumps({"_data_files": [{"filename": "../../other.arrow"}]}))
        assert failure(saved) == f"{state}: its _data_files are not names of files beside it; save the dataset again"

    def test_no_rows(self, tmp_path: Path) -> None:
        datasets.Dataset.from_list(ROWS).select([]).save_to_disk(tmp_path / "none")
        assert failure(tmp_path / "none") == f"{tmp_path / 'none'}: the dataset is empty: it has no rows"


def test_a_file_that_describes_a_dataset_is_no_data(saved: Path) -> None:
    path = saved / "train" / "dataset_info.json"
    assert failure(path) == f"{path}: it describes a dataset, and has no rows; give the folder that it lies in"


class TestClassLabels:
    """A winner that `datasets` keeps as the number of a class."""

    @staticmethod
    def write(path: Path, names: list[str], numbers: list[int], column: str = "winner", **spec: Any) -> list[Any]:
        texts = {
            "prompt": [triple.question for triple in TRIPLES],
            "response_a": [triple.better for triple in TRIPLES],
            "response_b": [triple.worse for triple in TRIPLES],
        }
        features = datasets.Features(
            {name: datasets.Value("string") for name in texts} | {column: datasets.ClassLabel(names=names)}
        )
        whole = datasets.Dataset.from_dict(texts | {column: numbers}, features=features)
        whole.save_to_disk(path / "saved")
        whole.to_parquet(path / "a.parquet")
        one, other = (
            load_pairs(DataSpec(path=str(each), **spec), FORMATS) for each in (path / "saved", path / "a.parquet")
        )
        assert (one.pairs, one.unusable.rows) == (other.pairs, other.unusable.rows)
        return [(number, pair.chosen) for number, pair in one.pairs]

    @pytest.mark.parametrize(
        ("names", "numbers"),
        [
            (["model_a", "model_b", "tie"], [0, 1, 2]),
            (["tie", "B", "A"], [2, 1, 0]),
            (["response_b", "response_a"], [1, 0, -1]),
            (["a", "b"], [0, 1, -1]),
        ],
    )
    def test_the_name_says_who_won_whatever_its_number(
        self, tmp_path: Path, names: list[str], numbers: list[int]
    ) -> None:
        assert self.write(tmp_path, names, numbers) == [(1, TRIPLES[0].better), (2, TRIPLES[1].worse)]

    def test_also_in_a_column_that_the_spec_names(self, tmp_path: Path) -> None:
        dataset = self.write(tmp_path, ["b", "a"], [1, 0, 1], "verdict", winner_feature="verdict")
        assert dataset == [(1, TRIPLES[0].better), (2, TRIPLES[1].worse), (3, TRIPLES[2].better)]

    def test_a_name_that_is_no_answers_is_refused_by_it(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="winner 'left one' is none of response_a and response_b"):
            self.write(tmp_path, ["left one", "right one"], [0, 1, 0])

    def test_numbers_of_other_columns_stay_numbers(self, tmp_path: Path) -> None:
        features = datasets.Features(
            {"chosen": datasets.Value("string"), "kind": datasets.ClassLabel(names=["x", "y"])}
        )
        datasets.Dataset.from_dict({"chosen": ["a"], "kind": [1]}, features=features).to_parquet(tmp_path / "a.parquet")
        assert read(tmp_path / "a.parquet") == [{"chosen": "a", "kind": 1}]

    def test_what_others_write_beside_a_table_is_nothing_to_go_by(self, tmp_path: Path) -> None:
        for text in (b"[]", b"{", b'{"info": {"features": {"chosen": "text"}}}'):
            table = pa.Table.from_pylist(ROWS).replace_schema_metadata({b"huggingface": text})
            pq.write_table(table, tmp_path / "a.parquet")
            assert read(tmp_path / "a.parquet") == ROWS


def test_messages_that_are_maps_are_read_by_their_keys(tmp_path: Path) -> None:
    text = pa.map_(pa.string(), pa.string())
    prompts = [[[("role", "user"), ("content", triple.question)]] for triple in TRIPLES]
    table = pa.table(
        {
            "prompt": pa.array(prompts, pa.list_(text)),
            "chosen": pa.array([[("role", "assistant"), ("content", triple.better)] for triple in TRIPLES], text),
            "rejected": [triple.worse for triple in TRIPLES],
        }
    )
    pq.write_table(table, tmp_path / "maps.parquet")
    dataset = load_pairs(DataSpec(path=str(tmp_path / "maps.parquet")), FORMATS)
    assert [pair.prompt for _, pair in dataset.pairs] == [[{"role": "user", "content": t.question}] for t in TRIPLES]
    assert [pair.chosen for _, pair in dataset.pairs] == [[{"role": "assistant", "content": t.better}] for t in TRIPLES]
