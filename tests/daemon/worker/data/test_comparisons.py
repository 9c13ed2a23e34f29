"""Texts with tool calls out of tables are compared as those out of lines are: as sides, as prompts, as pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.worker.data.prepare import PreparedData
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.source import ModelSource
from support import tiny_model
from support.row_files import write_arrow
from support.tool_rows import (
    AS_JSON,
    LEFT_OUT,
    Row,
    calling,
    in_any_order,
    jsonl,
    parquet,
    read,
    row,
    texts,
    unusable,
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return loading.tokenizer(ModelSource(str(tiny_model.build_chat(tmp_path_factory.mktemp("model"), AS_JSON))))


def table(folder: Path, kind: str, rows: list[Row]) -> Path:
    path = folder / f"a.{kind}"
    return parquet(path, rows) if kind == "parquet" else write_arrow(path, rows)


def near(city: str, **more: Any) -> Row:
    return {"city": city} | more


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
class TestComparisons:
    """A table's columns have structs of their own: each pads and orders the keys of a call by its own rows."""

    def read_both(self, folder: Path, kind: str, rows: list[Row], tokenizer: Any) -> PreparedData:
        """What the table gives, which must be what the lines give."""
        data = read(table(folder, kind, rows), tokenizer)
        lines = read(jsonl(folder / "a.jsonl", rows), tokenizer)
        assert [each.row for each in data.train] == [each.row for each in lines.train]
        assert [*map(in_any_order, texts(data, tokenizer))] == [*map(in_any_order, texts(lines, tokenizer))]
        assert unusable(data) == unusable(lines)
        others = [note for note in data.report.train.notes if LEFT_OUT not in note]
        assert others == [note.replace("a.jsonl:", f"a.{kind} row ") for note in lines.report.train.notes]
        return data

    def test_sides_that_differ_only_in_padding_and_order_are_identical(
        self, tmp_path: Path, tokenizer: Any, kind: str
    ) -> None:
        rows = [
            row(calling("weather", city="Bern"), calling("search", query="sun", near=near("Bern", km=1))),
            row(
                calling("search", query="rain", near=near("Rome", km=5)),
                calling("search", near=near("Rome", km=5), query="rain"),
                question="And sun?",
            ),
            row(calling("weather", city="Oslo"), calling("weather", city="Rome"), question="And snow?"),
        ]
        assert unusable(self.read_both(tmp_path, kind, rows, tokenizer)) == {"identical sides": [2]}

    def test_a_call_that_both_conversations_begin_with_is_their_prompts(
        self, tmp_path: Path, tokenizer: Any, kind: str
    ) -> None:
        def asking_twice(city: str, last: list[Row]) -> list[Row]:
            called, shown = calling("weather", city=city), {"role": "tool", "content": "sunny"}
            return [{"role": "user", "content": f"Sun in {city}?"}, *called, shown, *last]

        search = calling("search", query="sun", near=near("Rome"))
        sides = [[{"role": "assistant", "content": words}] for words in ("Yes.", "No.")]
        rows = [
            {"chosen": asking_twice("Rome", search), "rejected": asking_twice("Rome", sides[0])},
            {"chosen": asking_twice("Oslo", sides[0]), "rejected": asking_twice("Oslo", sides[1])},
        ]
        data = self.read_both(tmp_path, kind, rows, tokenizer)
        assert [answer for _, _, answer in texts(data, tokenizer)] == ["Yes.<|im_end|>", "No.<|im_end|>"]

    @pytest.mark.parametrize("column", ["prompt", "history"])
    def test_a_call_that_another_column_repeats_is_the_same_one(
        self, tmp_path: Path, tokenizer: Any, kind: str, column: str
    ) -> None:
        def conversation(city: str) -> list[Row]:
            return [
                {"role": "user", "content": f"Sun in {city}?"},
                *calling("weather", city=city),
                {"role": "tool", "content": "sunny"},
            ]

        search = calling("search", query="sun", near=near("Rome"))
        turns = [{"role": "assistant", "content": "Yes."}]
        rows: list[Row] = [
            {"chosen": search, "rejected": turns},
            {"chosen": turns, "rejected": calling("weather", city="Bern")},
        ]
        for city, each in zip(("Rome", "Oslo"), rows):
            if column == "prompt":
                each |= {side: [*conversation(city), *each[side]] for side in ("chosen", "rejected")}
                each["prompt"] = conversation(city)
            else:
                each["history"] = conversation(city)
                each["prompt"] = [*conversation(city), {"role": "assistant", "content": "It is."}]
                each["prompt"].append({"role": "user", "content": "For certain?"})
        assert len(self.read_both(tmp_path, kind, rows, tokenizer).train) == 2

    def test_pairs_that_repeat_or_contradict_each_other_are_told_of(
        self, tmp_path: Path, tokenizer: Any, kind: str
    ) -> None:
        weather, search = calling("weather", city="Rome"), calling("search", query="sun")
        rows = [
            row(weather, search),
            row(search, weather),
            row(weather, calling("weather", city="Oslo")),
            row(weather, calling("search", query="rain"), question="And snow?"),
        ]
        notes = self.read_both(tmp_path, kind, rows, tokenizer).report.train.notes
        assert notes[0].startswith("2 pairs contradict each other")
