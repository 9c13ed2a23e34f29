"""Reading rows with the formats of plugins: what they say they read, what they looked up, and when they fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.dataset import Dataset
from prefd.daemon.worker.data.reading import read_dataset
from prefd.daemon.worker.data.rows import DataError
from prefd.daemon.worker.data.watched_row import WatchedRow
from prefd.plugins import formats
from prefd.plugins.types import DatasetFormat, Pair, Reading, ReadOptions, RowFormat, UnusableRow

BUILT_IN: dict[str, RowFormat] = {}
formats.register_formats(BUILT_IN.__setitem__)


def read(rows: list[Any], row_format: RowFormat, **spec: Any) -> Dataset:
    return read_dataset(rows, DataSpec(path="x", **spec), BUILT_IN | {"own": row_format}, "ROWS", "data.path")


class Plain:
    """All that a format needs."""

    def matches(self, row: Mapping[str, Any]) -> bool:
        return "ask" in row

    def pair(self, row: Mapping[str, Any]) -> Pair:
        if not row["ask"]:
            raise UnusableRow("nothing is asked")
        return Pair(row["ask"], row.get("yes"), f"not {row['yes']}")


class Declared(Plain):
    """One that says what it reads."""

    def columns(self, row: Mapping[str, Any]) -> set[str]:
        return {"ask", "yes"}


class Whole(Plain):
    """One that makes a pair of two rows."""

    def read(self, rows: Mapping[int, Mapping[str, Any]], options: ReadOptions) -> Reading:
        (first, one), (_, other), *rest = rows.items()
        reading = Reading([(first, Pair(one["ask"], one["yes"], other["yes"]))], columns={first: {"ask", "yes"}})
        reading.unusable = [(number, UnusableRow("one too many")) for number, _ in rest]
        reading.notes = [options.pairs]
        return reading


ROWS = [{"ask": f"Q{n}", "yes": f"a{n}", "id": n} for n in range(3)]


def test_a_format_that_does_not_say_what_it_reads_is_watched() -> None:
    dataset = read(ROWS, Plain())
    assert dataset.format == "own"
    assert dataset.unread == ["id"]
    assert dataset.pairs[1] == (2, Pair("Q1", "a1", "not a1"))


def test_it_may_pass_over_a_column_that_looks_like_a_prompt_which_is_listed() -> None:
    assert read([row | {"question": "Another?"} for row in ROWS], Plain()).unread == ["id", "question"]


def test_a_format_that_says_what_it_reads_is_held_to_it() -> None:
    assert read(ROWS, Declared()).unread == ["id"]
    with pytest.raises(
        DataError, match=r"the column 'question' looks like a prompt .* \(data\.ignore_columns: \[question\]\)"
    ):
        read([row | {"question": "Another?"} for row in ROWS], Declared())


def test_a_format_may_make_a_pair_of_several_rows() -> None:
    assert isinstance(Whole(), DatasetFormat)
    dataset = read(ROWS, Whole(), pairs="all")
    assert dataset.pairs == [(1, Pair("Q0", "a0", "a1"))]
    assert [(number, str(reason)) for number, reason in dataset.unusable] == [(3, "one too many")]
    assert (dataset.unread, dataset.notes) == (["id"], ["all"])


def test_a_row_that_is_none_is_not_given_to_it() -> None:
    dataset = read([UnusableRow("not JSON"), *ROWS], Whole())
    assert dataset.pairs == [(2, Pair("Q0", "a0", "a1"))]
    assert (1, "not JSON") in [(number, str(reason)) for number, reason in dataset.unusable]


@pytest.mark.parametrize("number", [9, 1])
def test_a_format_that_fails_on_the_whole_is_named(number: int) -> None:
    class Broken(Whole):
        def read(self, rows: Mapping[int, Mapping[str, Any]], options: ReadOptions) -> Reading:
            return Reading([(number, Pair("Q", "a", "b" if number == 9 else None))])  # type: ignore[arg-type]

    with pytest.raises(DataError, match=r"data\.path: ROWS: format 'own' failed: "):
        read(ROWS, Broken())


def test_an_unusable_row_of_it_keeps_its_reason() -> None:
    dataset = read([*ROWS, {"ask": "", "yes": "a"}], Plain())
    assert [(number, str(reason)) for number, reason in dataset.unusable] == [(4, "nothing is asked")]


@pytest.mark.parametrize(
    "look_up",
    [
        lambda row: [row["a"], row.get("b")],
        lambda row: [row["a"], "b" in row and row["b"]],
        lambda row: dict(row),
        lambda row: {**row},
        lambda row: list(row.items()),
        lambda row: [row[column] for column in row],
        lambda row: list(row.values()),
        lambda row: row | {"c": 1},
        lambda row: row.copy(),
    ],
)
def test_every_way_to_look_up_a_column_is_seen(look_up: Any) -> None:
    row = WatchedRow({"a": 1, "b": 2})
    look_up(row)
    assert row.columns_read == {"a", "b"}


def test_a_column_that_was_not_looked_up_is_not_taken_for_read() -> None:
    row = WatchedRow({"a": 1, "b": 2})
    assert (row["a"], len(row), bool(row)) == (1, 2, True)
    assert row.columns_read == {"a"}


def test_rows_of_no_format_are_told_in_the_words_of_the_plainest() -> None:
    dataset = read_dataset([{"chosen": 5, "rejected": "b"}], DataSpec(path="x"), BUILT_IN, "ROWS", "data.path")
    assert (dataset.format, [str(reason) for _, reason in dataset.unusable]) == (
        "explicit",
        ["wrong types: chosen is a number, not text or chat messages"],
    )


NAMES = [
    *(
        "prompt",
        "chosen",
        "rejected",
        "system",
        "history",
        "messages",
        "question",
        "instruction",
        "input",
        "context",
        "tools",
    ),
    *(
        "response",
        "response_0",
        "response_1",
        "answers",
        "completions",
        "scores",
        "score",
        "rank",
        "winner",
        "labels",
        "choice",
    ),
    *(
        "overall_preference",
        "info",
        "summaries",
        "preferred_output",
        "turn",
        "images",
        "",
        "winner_model_a",
        "winner_model_b",
    ),
]
LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text("aH:\n [{", max_size=6)
KEYS = st.sampled_from(
    ["role", "content", "from", "value", "text", "score", "post", "messages", "input", "output", "", "type"]
)
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=7), min_size=1, max_size=3))
def test_whatever_the_rows_hold_they_are_read_or_refused(rows: list[Any]) -> None:
    try:
        dataset = read_dataset(rows, DataSpec(path="x"), BUILT_IN, "ROWS", "data.path")
    except DataError:
        return
    accounted = {number for number, _ in dataset.pairs} | {number for number, _ in dataset.unusable}
    assert accounted == set(range(1, len(rows) + 1)) or dataset.format == "grouped"
