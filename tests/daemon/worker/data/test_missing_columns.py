"""What is said of datasets that have no chosen and rejected column: following it gives the pairs that are meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from prefd.daemon.worker.data.rows import DataError
from support.dataset_rows import TRIPLES, Row
from support.reading_rows import of, read, texts


def read_refusal(rows: list[Row]) -> str:
    with pytest.raises(DataError) as caught:
        read(rows)
    return str(caught.value)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("winner", "loser"),
        ("win", "lose"),
        ("response_w", "response_l"),
        ("good_answer", "bad_answer"),
        ("correct", "incorrect"),
    ],
)
def test_columns_that_are_named_as_opposites_are_to_be_named(better: str, worse: str) -> None:
    rows = of("prompt", better, worse)
    assert f"name them (data.chosen_feature: {better}, data.rejected_feature: {worse})" in read_refusal(rows)
    assert texts(read(rows, chosen_feature=better, rejected_feature=worse)) == [(t.better, t.worse) for t in TRIPLES]


def test_names_of_models_are_no_answers() -> None:
    rows: list[Row] = [
        {"prompt": t.question, "gpt4_answer": t.better, "llama_answer": t.worse, "winner": "gpt4", "loser": "llama"}
        for t in TRIPLES
    ]
    assert "chosen_feature" not in read_refusal(rows)
    assert "Call them answer_a and answer_b, and write a or b into 'winner'" in read_refusal(rows)


def test_who_lost_of_known_answers_is_no_answer() -> None:
    rows = [
        row | {"good": "It is long and true.", "bad": "It is short and false."}
        for row in of("prompt", "response_a", "response_b")
    ]
    assert "chosen_feature: good" not in read_refusal(rows)


def test_what_lost_is_not_taken_for_a_misspelt_chosen() -> None:
    assert "Did you mean" not in read_refusal([{"prompt": "Q", "win": "yes", "lose": "no"}])
    assert "Did you mean 'choosen'?" in read_refusal([{"prompt": "Q", "choosen": "yes", "other": "no"}])


@pytest.mark.parametrize("key", ["selected", "is_best", "accepted", "is_chosen"])
def test_answers_that_are_marked_as_the_best_are_to_have_scores(key: str) -> None:
    def marked(score: Callable[[bool], dict[str, Any]]) -> list[Row]:
        return [
            {"prompt": t.question, "answers": [{"text": t.worse, **score(False)}, {"text": t.better, **score(True)}]}
            for t in TRIPLES
        ]

    assert (
        f"{key!r} of an answer may say it: give the preferred one a 'score' of 1 and the others 0, or put the texts into "
        "columns 'chosen' and 'rejected'"
    ) in read_refusal(marked(lambda best: {key: best}))
    assert texts(read(marked(lambda best: {key: best, "score": int(best)}))) == [(t.better, t.worse) for t in TRIPLES]


@pytest.mark.parametrize("column", ["loser", "worse_response_id", "rejected", "losing_answer"])
def test_a_column_of_the_loser_is_told_as_that(column: str) -> None:
    rows = of("prompt", "response_a", "response_b", **{column: "b"})
    assert (
        f"{column!r} may say which is the worse one, and is never read as such: write the better one's name (response_a or "
        "response_b) into a column 'winner'"
    ) in read_refusal(rows)
    mended = [{name: value for name, value in row.items() if name != column} for row in rows]
    assert texts(read([row | {"winner": "response_a"} for row in mended])) == [(t.better, t.worse) for t in TRIPLES]


def test_a_list_of_answers_and_its_loser() -> None:
    rows = [{"prompt": t.question, "responses": [t.better, t.worse], "loser": 1} for t in TRIPLES]
    assert "write the better one's letter (A, B, …) into a column 'winner'" in read_refusal(rows)
    assert "Name the column that says it with data.winner_feature" in read_refusal(
        of("prompt", "response_a", "response_b")
    )
