"""Rows to pairs: the columns a spec names, the format of the whole dataset, and what is left out by reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.runs.data_summary import UnusableRows
from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.prepare import LoadedPairs, load_pairs
from prefd.daemon.worker.data.rows import DataError
from prefd.plugins import formats
from prefd.plugins.types import Pair, RowFormat

FORMATS: dict[str, RowFormat] = {}
formats.register_formats(FORMATS.__setitem__)

GOOD = {"prompt": "Q", "chosen": "a", "rejected": "b"}


def load(tmp_path: Path, rows: list[Any], formats: dict[str, RowFormat] | None = None, **spec: Any) -> LoadedPairs:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return load_pairs(DataSpec(path=str(path), **spec), formats or FORMATS)


def one_row(number: int) -> UnusableRows:
    """What the report says of a reason that is one row's."""
    return UnusableRows(count=1, rows=[number], places=[f"pairs.jsonl:{number}"])


def failure(tmp_path: Path, rows: list[Any], formats: dict[str, RowFormat] | None = None, **spec: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(tmp_path, rows, formats, **spec)
    return str(caught.value).replace(str(tmp_path / "pairs.jsonl"), "PATH")


class TestFormat:
    def test_all_rows_decide_not_the_first(self, tmp_path: Path) -> None:
        dataset = load(tmp_path, [{"chosen": "x a", "rejected": "x b"}, GOOD, GOOD])
        assert (dataset.format, [row for row, _ in dataset.pairs]) == ("explicit", [2, 3])
        assert dataset.unusable.summarize() == {"wrong types: prompt is missing, not text or chat messages": one_row(1)}

    def test_the_special_format_wins_where_all_rows_match_two(self, tmp_path: Path) -> None:
        transcript = {"chosen": "\n\nHuman: Q\n\nAssistant: a", "rejected": "\n\nHuman: Q\n\nAssistant: b"}
        assert load(tmp_path, [transcript, transcript]).format == "hh"

    def test_a_few_odd_rows_do_not_turn_transcripts_into_plain_text(self, tmp_path: Path) -> None:
        transcript = {"chosen": "\n\nHuman: Q\n\nAssistant: a", "rejected": "\n\nHuman: Q\n\nAssistant: b"}
        dataset = load(tmp_path, [transcript] * 10 + [{"chosen": "Q a", "rejected": "Q b"}])
        assert (dataset.format, len(dataset.pairs)) == ("hh", 10)
        assert [row for each in dataset.unusable.summarize().values() for row in each.rows] == [11]
        assert load(tmp_path, [transcript, {"chosen": "Q a", "rejected": "Q b"}]).format == "implicit_text"

    def test_a_plugins_format_wins_over_a_built_in_that_fits_as_well(self, tmp_path: Path) -> None:
        class Shouted:
            def matches(self, row: Any) -> bool:
                return "prompt" in row

            def pair(self, row: Any) -> Pair:
                return Pair(row["prompt"].upper(), row["chosen"], row["rejected"])

        dataset = load(tmp_path, [GOOD], FORMATS | {"shouted": Shouted()})
        assert (dataset.format, dataset.pairs) == ("shouted", [(1, Pair("Q", "a", "b"))])
        assert load(
            tmp_path, [GOOD, GOOD | {"prompt": None}], FORMATS | {"shouted": Shouted()}
        ).unusable.summarize() == {
            "format 'shouted' failed: AttributeError: 'NoneType' object has no attribute 'upper'": one_row(2)
        }
        assert load(
            tmp_path, [GOOD, {"chosen": "a", "rejected": "b"}], {"shouted": Shouted()}
        ).unusable.summarize() == {"not in the dataset's format (shouted)": one_row(2)}

    def test_a_plugins_format_that_gives_no_pair(self, tmp_path: Path) -> None:
        class Broken:
            def matches(self, row: Any) -> bool:
                return True

            def pair(self, row: Any) -> Any:
                return Pair("Q", None, "b")  # type: ignore[arg-type]

        assert "format 'broken' failed: it gave no pair of texts or chat messages" in failure(
            tmp_path, [GOOD], {"broken": Broken()}
        )


class TestUnusable:
    def test_rows_are_counted_by_reason_and_named(self, tmp_path: Path) -> None:
        rows: list[Any] = [GOOD, GOOD | {"chosen": ""}, "{oops", GOOD | {"chosen": 5}, [1], GOOD | {"chosen": "b"}]
        dataset = load(tmp_path, [*rows, *[GOOD | {"rejected": " "}] * 6])
        assert dataset.rows == 12
        assert dataset.pairs == [(1, Pair("Q", "a", "b"))]
        assert len(dataset.unusable) == 11
        assert dataset.unusable.summarize() == {
            "empty completion": UnusableRows(
                count=7, rows=[2, 7, 8, 9, 10], places=[f"pairs.jsonl:{line}" for line in (2, 7, 8, 9, 10)]
            ),
            "not JSON": one_row(3),
            "wrong types: chosen is a number, not text or chat messages": one_row(4),
            "not a JSON object, but a list: write each row as an object with the names of its columns": one_row(5),
            "identical sides": one_row(6),
        }
        assert str(dataset.unusable).startswith(
            "7 × empty completion (pairs.jsonl:2, 7, 8, 9, 10, …); 1 × not JSON (pairs.jsonl:3); "
        )

    def test_a_dataset_of_nothing_else_fails_saying_so(self, tmp_path: Path) -> None:
        assert failure(tmp_path, [GOOD | {"chosen": ""}, GOOD | {"chosen": 5}]) == (
            "data.path: PATH: none of its 2 rows can be used: 1 × empty completion (pairs.jsonl:1); "
            "1 × wrong types: chosen is a number, not text or chat messages (pairs.jsonl:2)"
        )
        assert failure(tmp_path, ["{oops", "5"]) == (
            "data.path: PATH: none of its 2 rows can be used: 1 × not JSON (pairs.jsonl:1); 1 × not a JSON object (pairs.jsonl:2)"
        )
        assert "2 × wrong types: chosen is a number" in failure(tmp_path, [GOOD | {"chosen": 5}] * 2)

    def test_files_that_cannot_be_read_name_the_field(self, tmp_path: Path) -> None:
        assert failure(tmp_path, []) == "data.path: PATH: the file is empty: it has no rows"
        with pytest.raises(DataError, match=r"data\.path: .*/nothing: no such file or folder"):
            load_pairs(DataSpec(path=str(tmp_path / "nothing")), FORMATS)


class TestColumns:
    def test_named_columns_are_used(self, tmp_path: Path) -> None:
        row = {"question": "Q", "better": "a", "worse": "b", "chosen": "no", "prompt": "no"}
        dataset = load(tmp_path, [row], prompt_feature="question", chosen_feature="better", rejected_feature="worse")
        assert dataset.pairs == [(1, Pair("Q", "a", "b"))]

    def test_columns_may_be_swapped(self, tmp_path: Path) -> None:
        dataset = load(tmp_path, [GOOD], chosen_feature="rejected", rejected_feature="chosen")
        assert dataset.pairs == [(1, Pair("Q", "b", "a"))]

    def test_an_unknown_column_is_named_with_its_nearest(self, tmp_path: Path) -> None:
        assert failure(tmp_path, [GOOD, GOOD | {"chosen_text": "x"}], chosen_feature="chosn") == (
            "data.chosen_feature: PATH has no column 'chosn'; its columns: prompt, chosen, rejected, chosen_text. "
            "Did you mean 'chosen' or 'chosen_text'?"
        )
        assert failure(tmp_path, [GOOD], prompt_feature="zzz") == (
            "data.prompt_feature: PATH has no column 'zzz'; its columns: prompt, chosen, rejected."
        )

    def test_missing_columns_are_named_with_what_to_do(self, tmp_path: Path) -> None:
        assert failure(tmp_path, [{"prompt": "Q", "chosen_answer": "a", "bad": "b"}]) == (
            "data.path: PATH has 'chosen_answer' for the chosen answer and none for the rejected one; its columns: prompt, "
            "chosen_answer, bad. Name it with data.rejected_feature"
        )
        assert failure(tmp_path, [{"prompt": "Q", "chosen_one": "a", "bad": "b"}]) == (
            "data.path: PATH has no column 'chosen' or 'rejected'; its columns: prompt, chosen_one, bad. "
            "Did you mean 'chosen_one'? Name the columns with data.chosen_feature and data.rejected_feature"
        )
        assert failure(tmp_path, [{"text": "Q"}]) == (
            "data.path: PATH has no column 'chosen' or 'rejected'; its columns: text. "
            "Name the columns with data.chosen_feature and data.rejected_feature"
        )

    def test_no_columns_at_all(self, tmp_path: Path) -> None:
        assert failure(tmp_path, [{}]) == (
            "data.path: PATH has no columns: each row needs chosen and rejected (and prompt, or not)"
        )
