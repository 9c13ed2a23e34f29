"""What is said of datasets that have no chosen and rejected column: following it gives the pairs that are meant."""

from __future__ import annotations

import pytest
from dataset_rows import TRIPLES, Row
from reading_rows import of, read, texts

from prefd.daemon.worker.rows import DataError


def said(rows: list[Row]) -> str:
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
    assert f"name them (data.chosen_feature: {better}, data.rejected_feature: {worse})" in said(rows)
    assert texts(read(rows, chosen_feature=better, rejected_feature=worse)) == [(t.better, t.worse) for t in TRIPLES]


def test_names_of_models_are_no_answers() -> None:
    rows: list[Row] = [
        {"prompt": t.question, "gpt4_answer": t.better, "llama_answer": t.worse, "winner": "gpt4", "loser": "llama"}
        for t in TRIPLES
    ]
    assert "chosen_feature" not in said(rows)
    assert "Call them answer_a and answer_b, and write a or b into 'winner'" in said(rows)


def test_who_lost_of_known_answers_is_no_answer() -> None:
    rows = [
        row | {"good": "It is long and true.", "bad": "It is short and false."}
        for row in of("prompt", "response_a", "response_b")
    ]
    assert "chosen_feature: good" not in said(rows)


def test_what_lost_is_not_taken_for_a_misspelt_chosen() -> None:
    assert "Did you mean" not in said([{"prompt": "Q", "win": "yes", "lose": "no"}])
    assert "Did you mean 'choosen'?" in said([{"prompt": "Q", "choosen": "yes", "other": "no"}])
