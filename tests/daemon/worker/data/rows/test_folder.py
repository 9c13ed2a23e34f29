"""A folder's files by split: what their names tell, and never more than that."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path, PurePath
from typing import Any

import pytest

from prefd.daemon.runs.snapshot import DataState, examine_data
from prefd.daemon.specs.data_files import is_data, split_of, suffix_of
from prefd.daemon.specs.data_sources import Source
from prefd.daemon.worker.data.rows import DataError, read_rows
from support import homes
from support.row_files import ROWS, failure, find_rows, write_rows

FOLDERS = "harmless-base, helpful-base"


def make(folder: Path, *names: str) -> Path:
    for name in names:
        write_rows(folder / name, ROWS[:1])
    return folder


def names_read(folder: Path, *splits: str) -> list[str]:
    return list(dict.fromkeys(place.file for place in find_rows(folder, *splits).places))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.jsonl", "train"),
        ("heldout.jsonl", "validation"),
        ("held_out.jsonl", "validation"),
        ("hold-out-data.jsonl", "validation"),
        ("shout.jsonl", None),
        ("train.jsonl.gz", "train"),
        ("training-2024.csv", "train"),
        ("train_data.json", "train"),
        ("train-part-3.jsonl.zst", "train"),
        ("valid.jsonl", "validation"),
        ("dev/0.parquet", "validation"),
        ("eval.jsonl", "test"),
        ("harmless-base/test.jsonl.gz", "test"),
        ("data/train-00000-of-00002.parquet", "train"),
        ("data/train-00000-of-00001-6497e93b3ab0b3b5.parquet", "train"),
        ("data/train_prefs-00000-of-00001-6497e93b3ab0b3b5.parquet", "train_prefs"),
        ("train_prefs.jsonl", "train_prefs"),
        ("train_prefs/0.parquet", "train_prefs"),
        ("sft_train.jsonl", "sft_train"),
        ("data-00000-of-00003.arrow", None),
        ("train/data-00000-of-00003.arrow", "train"),
        ("train_prefs/data-00000-of-00003.arrow", "train_prefs"),
        ("pairs.jsonl", None),
        ("restrained.jsonl", None),
        ("testament.csv", None),
    ],
)
def test_the_split_that_a_name_tells_of(name: str, split: str | None) -> None:
    assert split_of(PurePath(name)) == split


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", True),
        ("a.JSONL.GZ", True),
        ("a.tsv.zst", True),
        ("a.arrow", True),
        ("a.parquet.gz", False),
        ("a.gz", False),
        ("dataset_info.json", False),
        ("sub/dataset_infos.json", False),
        ("state.json", False),
        ("dataset_dict.json", False),
        (".gitattributes", False),
        (".cache/a.jsonl", False),
        ("_old/a.jsonl", False),
        ("cache-abc.arrow", False),
        ("README.md", False),
    ],
)
def test_which_files_are_data(name: str, data: bool) -> None:
    assert is_data(PurePath(name)) == data
    assert suffix_of(PurePath("a.b.jsonl.gz")) == ".jsonl.gz"


def test_what_describes_the_data_is_not_read(tmp_path: Path) -> None:
    make(tmp_path, "pairs.jsonl")
    for name in ("dataset_infos.json", "dataset_info.json", "README.md", ".gitattributes", "LICENSE"):
        (tmp_path / name).write_text(json.dumps({"default": {"features": {}}}))
    got = find_rows(tmp_path)
    assert (got.rows, got.notes, str(got.places[0])) == (ROWS[:1], [], "pairs.jsonl:1")


def test_hh_rlhf_as_it_lies_on_the_hub(tmp_path: Path) -> None:
    for subset in ("harmless-base", "helpful-base"):
        for split in ("train", "test"):
            path = tmp_path / subset / f"{split}.jsonl.gz"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(gzip.compress(json.dumps({"chosen": subset, "rejected": split}).encode()))
    (tmp_path / "red-team-attempts").mkdir()
    (tmp_path / "red-team-attempts" / "red_team_attempts.jsonl.gz").write_bytes(gzip.compress(b'{"transcript": ""}'))
    assert names_read(tmp_path) == ["harmless-base/train.jsonl.gz", "helpful-base/train.jsonl.gz"]
    left = "harmless-base/test.jsonl.gz, helpful-base/test.jsonl.gz, red-team-attempts/red_team_attempts.jsonl.gz"
    assert find_rows(tmp_path).notes == [
        f"{tmp_path.name}: 2 of 5 files read; not read: {left}",
        f"{tmp_path.name}: files of several folders are read as one: {FOLDERS} (data.data_dir reads one of them)",
    ]
    one = read_rows(Source("data.path", str(tmp_path), ("test",), data_dir="harmless-base"))
    assert one.rows == [{"chosen": "harmless-base", "rejected": "test"}]
    assert str(one.places[0]) == "test.jsonl.gz:1"
    with pytest.raises(DataError, match=r"no such folder in the dataset \(data_dir\); did you mean .*/harmless-base\?"):
        read_rows(Source("data.path", str(tmp_path), data_dir="harmles-base"))


class TestSplitsThatAreNotThere:
    @pytest.mark.parametrize(
        "names",
        [
            ("train_prefs.jsonl", "train_sft.jsonl", "test_prefs.jsonl"),
            (
                "train_prefs-00000-of-00001.parquet",
                "train_sft-00000-of-00001.parquet",
                "test_prefs-00000-of-00001.parquet",
            ),
            ("train_prefs/0.jsonl", "train_sft/0.jsonl", "test_prefs/0.jsonl"),
        ],
    )
    def test_are_refused_with_the_setting_and_read_when_named(self, tmp_path: Path, names: tuple[str, ...]) -> None:
        make(tmp_path, *names)
        message = failure(tmp_path)
        assert message.startswith(f"{tmp_path}: no file of split 'train' in this folder; it holds test_prefs (")
        assert message.endswith("; name one: data.split: train_prefs")
        assert names_read(tmp_path, "train_prefs") == [names[0]]
        assert names_read(tmp_path, "test_prefs") == [names[2]]

    def test_two_kinds_of_train_are_not_taken_together(self, tmp_path: Path) -> None:
        make(tmp_path, "prefs_train.jsonl", "sft_train.jsonl")
        assert failure(tmp_path).endswith("; name one: data.split: prefs_train")

    def test_a_plain_train_goes_before_one_with_more_to_its_name(self, tmp_path: Path) -> None:
        make(tmp_path, "train.jsonl", "train_sft.jsonl")
        assert names_read(tmp_path) == ["train.jsonl"]
        assert find_rows(tmp_path).notes == [f"{tmp_path.name}: 1 of 2 files read; not read: train_sft.jsonl"]

    def test_the_only_train_there_is_may_have_a_name_before_it(self, tmp_path: Path) -> None:
        make(tmp_path, "my_train.jsonl", "test-1.jsonl", "data/val/x.jsonl")
        assert names_read(tmp_path) == ["my_train.jsonl"]
        assert names_read(tmp_path, "test") == ["test-1.jsonl"]
        assert names_read(tmp_path, "validation", "test") == ["data/val/x.jsonl"]

    def test_held_out_pairs_are_never_suggested_for_training(self, tmp_path: Path) -> None:
        make(tmp_path, "test.jsonl", "pairs.jsonl")
        assert failure(tmp_path) == (
            f"{tmp_path}: no file of split 'train' in this folder; it holds test (test.jsonl), files of no split "
            f"(pairs.jsonl); name one of them (data.split), or give the files themselves: {tmp_path / 'pairs.jsonl'}"
        )
        assert "it holds validation (holdout.jsonl), files of no split (a.jsonl)" in failure(
            make(tmp_path / "other", "a.jsonl", "holdout.jsonl")
        )
        only = make(tmp_path / "only", "test_prefs.jsonl")
        assert failure(only).endswith("; name one of them (data.split)")

    def test_the_setting_that_a_held_out_split_wants(self, tmp_path: Path) -> None:
        make(tmp_path, "train_prefs.jsonl", "test_prefs.jsonl")
        source = Source("data.validation", str(tmp_path), ("validation", "test"))
        with pytest.raises(DataError, match=r"; name one: data\.validation_split: test_prefs$"):
            read_rows(source)
        with pytest.raises(DataError, match=r"; name one: data\.path\[1\]\.split: train_prefs$"):
            read_rows(Source("data.path[1]", str(tmp_path)))


def test_names_without_a_split_are_all_train(tmp_path: Path) -> None:
    assert names_read(make(tmp_path, "a.jsonl", "b/2.json", "part-00000-of-00002.parquet")) == [
        "a.jsonl",
        "b/2.json",
        "part-00000-of-00002.parquet",
    ]


def test_the_only_split_there_is_may_have_any_name_but_a_held_out_ones(tmp_path: Path) -> None:
    folder = make(tmp_path, "train_prefs-00000-of-00002.parquet", "train_prefs-00001-of-00002.parquet")
    assert len(names_read(folder)) == 2
    assert find_rows(folder).notes == [f"{tmp_path.name}: its only split is 'train_prefs', and was read"]


@pytest.mark.parametrize("other", ["train.jsonl.gz", "train.json", "train.parquet"])
def test_rows_in_two_forms_are_not_read_twice(tmp_path: Path, other: str) -> None:
    folder = make(tmp_path, "train.jsonl")
    (folder / other).write_bytes(b"")
    first, second = sorted(["train.jsonl", other])
    assert failure(folder) == (
        f"{folder}: {first} and {second} look like the same rows in two forms; "
        "take one of them away, or give the files to read as a list in data.path"
    )


def test_a_folder_that_cannot_be_looked_into_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "a.jsonl", "sub/b.jsonl")
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert failure(tmp_path) == f"{tmp_path / 'sub'}: cannot be read: Permission denied"
    spec = homes.make_spec(data={"path": str(tmp_path)})
    assert examine_data(spec) == {str(tmp_path): DataState(error="Permission denied")}


def test_lines_are_those_of_the_file_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n\n\n{"a": 2}\n')
    (tmp_path / "b.jsonl").write_text('\n{"a": 3}\n')
    assert list(map(str, find_rows(tmp_path).places)) == ["a.jsonl:1", "a.jsonl:4", "b.jsonl:2"]


def test_one_file_has_no_splits_and_that_is_said(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "pairs.jsonl", ROWS)
    assert find_rows(path, "test").notes == [
        "pairs.jsonl: it is one file, of which all is read: the split 'test' means nothing there"
    ]
    with pytest.raises(
        DataError, match=r"it is one file, without a split 'test' in it; give data\.validation the path"
    ):
        read_rows(Source("data.validation_split", str(path), ("test",)))


def test_parts_that_are_missing_by_their_numbers_are_told(tmp_path: Path) -> None:
    make(
        tmp_path, "data/train-00000-of-00003.jsonl", "data/train-00002-of-00003.jsonl", "data/test-00000-of-00001.jsonl"
    )
    message = "data/train: 2 of its 3 parts are here, by their names, and the others are missing"
    assert any(message in note for note in find_rows(tmp_path).notes)
    assert not any("parts are here" in note for note in find_rows(tmp_path, "test").notes)
