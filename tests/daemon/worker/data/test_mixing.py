"""Several datasets as one: formats of their own, a share of each, rows numbered and named through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from prefd.daemon.runs.data_summary import UnusableRows
from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.mixing import load_held_out, load_pairs
from prefd.daemon.worker.data.pairs import LoadedPairs
from prefd.daemon.worker.data.rows import DataError
from prefd.plugins import formats
from prefd.plugins.types import RowFormat

FORMATS: dict[str, RowFormat] = {}
formats.register_formats(FORMATS.__setitem__)


def write(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def numbered(start: int, count: int) -> list[dict[str, str]]:
    return [{"prompt": f"Q{n}", "chosen": f"a{n}", "rejected": f"b{n}"} for n in range(start, start + count)]


def prompts(pairs: LoadedPairs) -> list[Any]:
    return [pair.prompt for _, pair in pairs.pairs]


def load(*path: Any, **spec: Any) -> LoadedPairs:
    return load_pairs(DataSpec.model_validate({"path": list(path), **spec}), FORMATS)


def test_each_dataset_is_read_in_its_own_format(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.jsonl", [*numbered(0, 2), {"prompt": "Q", "chosen": "", "rejected": "b"}])
    transcript = {"chosen": "\n\nHuman: Hi\n\nAssistant: a", "rejected": "\n\nHuman: Hi\n\nAssistant: b"}
    hh = write(tmp_path / "hh.jsonl", [transcript, "no row"])
    dataset = load(str(plain), str(hh))
    assert prompts(dataset)[:2] == ["Q0", "Q1"]
    assert [(row, str(dataset.places[row - 1])) for row, _ in dataset.pairs] == [
        (1, "plain.jsonl:1"),
        (2, "plain.jsonl:2"),
        (4, "hh.jsonl:1"),
    ]
    assert (dataset.rows, dataset.format, dataset.source) == (5, "explicit, hh", f"{plain}, {hh}")
    assert dataset.notes == [f"{plain}: 3 rows in format explicit", f"{hh}: 2 rows in format hh"]
    assert str(dataset.unusable) == "1 × empty completion (plain.jsonl:3); 1 × not a JSON object (hh.jsonl:2)"
    assert dataset.unusable.summarize()["not a JSON object"] == UnusableRows(count=1, rows=[5], places=["hh.jsonl:2"])


def test_a_dataset_of_one_row_has_one_row(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a.jsonl", numbered(0, 1)), write(tmp_path / "b.jsonl", numbered(1, 2))
    dataset = load(str(one), str(two))
    assert dataset.notes == [f"{one}: 1 row in format explicit", f"{two}: 2 rows in format explicit"]


class TestRepeats:
    SWAPPED: ClassVar[dict[str, str]] = {"prompt": "Q2", "chosen": "b2", "rejected": "a2"}

    def test_pairs_that_two_datasets_have_are_told(self, tmp_path: Path) -> None:
        one, two = (
            write(tmp_path / "a.jsonl", numbered(0, 4)),
            write(tmp_path / "b.jsonl", [*numbered(2, 4), self.SWAPPED]),
        )
        notes = load(str(one), str(two)).notes[-3:]
        assert notes == [
            "2 pairs contradict each other: what one prefers another rejects, for the same prompt (b.jsonl:1, 5)",
            "2 pairs repeat ones of another dataset (b.jsonl:1, 2)",
            (
                "2 pairs of different datasets contradict each other: what one prefers another rejects, for the same prompt "
                "(a.jsonl:3, b.jsonl:5)"
            ),
        ]

    def test_one_is_one_and_none_is_not_told(self, tmp_path: Path) -> None:
        one = write(tmp_path / "a.jsonl", numbered(0, 4))
        assert load(str(one), str(write(tmp_path / "b.jsonl", numbered(3, 2)))).notes[-1] == (
            "1 pair repeats one of another dataset (b.jsonl:1)"
        )
        assert len(load(str(one), str(write(tmp_path / "b.jsonl", numbered(4, 2)))).notes) == 2

    def test_what_a_weight_leaves_out_repeats_nothing(self, tmp_path: Path) -> None:
        one, two = (write(tmp_path / name, numbered(0, 20)) for name in ("a.jsonl", "b.jsonl"))
        dataset = load({"path": str(one), "weight": 0.1}, str(two))
        assert dataset.notes[-1].startswith("2 pairs repeat ones of another dataset (b.jsonl:")


class TestWeights:
    def test_a_share_of_the_usable_pairs_is_used_in_their_order(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.jsonl", [*numbered(0, 20), {"prompt": "Q", "chosen": "", "rejected": "b"}])
        dataset = load({"path": str(path), "weight": 0.25})
        assert prompts(dataset) == ["Q4", "Q8", "Q13", "Q16", "Q19"]
        assert (dataset.left_out, len(dataset.unusable), dataset.rows) == (15, 1, 21)
        assert dataset.notes == [f"{path}: weight 0.25: 5 of its 20 pairs are used"]

    def test_the_same_pairs_are_used_whatever_is_beside_or_before_them(self, tmp_path: Path) -> None:
        one = write(tmp_path / "one.jsonl", numbered(0, 20))
        moved = write(tmp_path / "moved.jsonl", numbered(0, 20)[::-1])
        other = write(tmp_path / "other.jsonl", numbered(50, 3))
        alone = prompts(load({"path": str(one), "weight": 0.25}))
        assert prompts(load(str(other), {"path": str(one), "weight": 0.25})) == ["Q50", "Q51", "Q52", *alone]
        assert sorted(prompts(load({"path": str(moved), "weight": 0.25}))) == sorted(alone)

    def test_rows_that_are_added_change_little(self, tmp_path: Path) -> None:
        before = set(prompts(load({"path": str(write(tmp_path / "a.jsonl", numbered(0, 100))), "weight": 0.5})))
        after = set(prompts(load({"path": str(write(tmp_path / "a.jsonl", numbered(0, 104))), "weight": 0.5})))
        assert (len(before), len(after)) == (50, 52)
        assert len(before & after) >= 48

    def test_a_larger_share_holds_the_smaller(self, tmp_path: Path) -> None:
        path = str(write(tmp_path / "a.jsonl", numbered(0, 40)))
        shares = [set(prompts(load({"path": path, "weight": weight}))) for weight in (0.01, 0.3, 0.6, 1.0)]
        assert list(map(len, shares)) == [1, 12, 24, 40]
        assert shares[0] < shares[1] < shares[2] < shares[3]


def test_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    one, two = (write(tmp_path / name / "pairs.jsonl", numbered(start, 1)) for start, name in enumerate(["one", "two"]))
    folder = write(tmp_path / "folder" / "x.jsonl", numbered(9, 1)).parent
    assert list(map(str, load(str(one), str(two), str(folder)).places)) == [f"{one}:1", f"{two}:1", "folder/x.jsonl:1"]


def test_a_dataset_that_cannot_be_used_is_named_by_its_place_in_the_list(tmp_path: Path) -> None:
    good = write(tmp_path / "a.jsonl", numbered(0, 1))
    bad = write(tmp_path / "b.jsonl", [{"prompt": "Q", "chosen": "a", "rejected": "a"}])
    with pytest.raises(DataError) as caught:
        load(str(good), str(bad))
    assert str(caught.value) == (
        f"data.path[1]: {bad}: none of its 1 rows can be used: 1 × identical sides (b.jsonl:1)"
    )


class TestHeldOut:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for subset, start in (("harmless", 0), ("helpful", 10)):
            write(tmp_path / "hh" / subset / "train.jsonl", numbered(start, 4))
            write(tmp_path / "hh" / subset / "test.jsonl", numbered(start + 4, 1))
        return tmp_path / "hh"

    def held_out(self, **spec: Any) -> list[Any] | None:
        dataset = load_held_out(DataSpec.model_validate(spec), FORMATS)
        return None if dataset is None else prompts(dataset)

    def test_a_split_of_the_dataset(self, folder: Path) -> None:
        spec = {"path": str(folder), "data_dir": "harmless", "validation_split": "test"}
        assert self.held_out(**spec) == ["Q4"]
        assert prompts(load_pairs(DataSpec.model_validate(spec), FORMATS)) == ["Q0", "Q1", "Q2", "Q3"]

    def test_a_split_of_each_dataset_whole(self, folder: Path) -> None:
        path = [{"path": str(folder), "data_dir": name, "weight": 0.5} for name in ("harmless", "helpful")]
        assert self.held_out(path=path, validation_split="test") == ["Q4", "Q14"]

    def test_the_dataset_itself_has_a_split_for_it(self, folder: Path) -> None:
        assert self.held_out(path=str(folder), validation=str(folder)) == ["Q4", "Q14"]

    def test_a_split_of_other_pairs(self, folder: Path, tmp_path: Path) -> None:
        own = write(tmp_path / "own.jsonl", numbered(0, 3))
        spec = {"path": str(own), "validation": str(folder / "helpful")}
        assert self.held_out(**spec) == ["Q14"]
        assert self.held_out(**spec, validation_split="train") == ["Q10", "Q11", "Q12", "Q13"]

    def test_what_is_trained_on_is_never_held_out_for_want_of_another(self, tmp_path: Path) -> None:
        write(tmp_path / "d" / "train.jsonl", numbered(0, 3))
        with pytest.raises(DataError, match=r"data\.validation: .*no file of split 'validation' or 'test'"):
            self.held_out(path=str(tmp_path / "d"), validation=str(tmp_path / "d"))

    def test_a_fraction_has_no_dataset_of_its_own(self, folder: Path) -> None:
        assert self.held_out(path=str(folder), validation=0.1) is None
