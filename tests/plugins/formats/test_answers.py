"""The answers of a row: lists that stand beside them, columns that hold nothing, and what is missing."""

from __future__ import annotations

import pytest

from prefd.daemon.worker.data.rows import DataError
from support.dataset_rows import Row
from support.reading_rows import read, texts


def test_lists_to_judge_by_are_no_second_set_of_answers() -> None:
    row = {
        "instruction": "Q",
        "completions": [{"response": "bad", "overall_score": 1}, {"response": "good", "overall_score": 9}],
        "correct_answers": ["c1", "c2"],
        "incorrect_answers": ["i1", "i2", "i3"],
    }
    assert texts(read([row])) == [("good", "bad")]


@pytest.mark.parametrize("padding", [None, "", []])
@pytest.mark.parametrize("says", [{"winner": "response_2"}, {"score_1": 1, "score_2": 2, "score_3": None}])
def test_a_numbered_column_that_holds_nothing_is_no_answer(padding: object, says: Row) -> None:
    row: Row = {"prompt": "Q", "response_1": "one", "response_2": "two", "response_3": padding, **says}
    assert texts(read([row])) == [("two", "one")]


def test_the_marks_stay_as_named_where_a_column_between_holds_nothing() -> None:
    rows: list[Row] = [
        {"prompt": "Q", "response_1": "one", "response_2": None, "response_3": "three", "winner": winner}
        for winner in (3, "response_3", "Response 1", 2, "A", "C", "B")
    ]
    dataset = read(rows)
    better = ["three", "three", "one", "one", "three"]
    assert texts(dataset) == [(text, "one" if text == "three" else "three") for text in better]
    assert [(number, str(reason)) for number, reason in dataset.unusable] == [
        (4, "winner 2 is none of response_1 and response_3"),
        (7, "winner 'B' is none of response_1 and response_3"),
    ]


@pytest.mark.parametrize("winner", ["A", "C"])
def test_letters_over_numbers_with_a_gap_are_not_certain(winner: str) -> None:
    row: Row = {"prompt": "Q", "response_1": "one", "response_3": "three", "winner": winner}
    with pytest.raises(DataError, match="write the name of the winning column"):
        read([row])


def test_an_answer_of_a_list_that_is_missing_is_named() -> None:
    good: Row = {"prompt": "Q", "completions": [{"response": "a", "score": 1}, {"response": "b", "score": 2}]}
    rows: list[Row] = [
        good,
        {**good, "completions": [{"response": "a", "score": 1}, {"response": None, "score": 2}]},
        {"prompt": "Q", "responses": ["a", None], "scores": [1, 2]},
        {"prompt": "Q", "responses": ["a"], "scores": [1]},
    ]
    assert [(number, str(reason)) for number, reason in read(rows).unusable] == [
        (2, "wrong types: answer 2 of completions is missing, not text or chat messages"),
        (3, "wrong types: answer 2 of responses is missing, not text or chat messages"),
        (4, "responses has fewer than two answers"),
    ]
