"""Sides that name an answer, and are none themselves: no letter is trained as an answer."""

from __future__ import annotations

from typing import Any

import pytest

from prefd.daemon.worker.data.rows import DataError
from prefd.plugins.types import Pair
from support.dataset_rows import Row, answer, chat
from support.reading_rows import read

NAMES: list[tuple[str, str]] = [
    ("B", "A"),
    ("1", "0"),
    ("Candidate 2", "Candidate 1"),
    ("second", "first"),
    ("b.", "a."),
]


@pytest.mark.parametrize(("chosen", "rejected"), NAMES)
@pytest.mark.parametrize(
    "answers",
    [
        {"responses": ["one", "two"]},
        {"options": ["one", "two"]},
        {"texts": ["one", "two"]},
        {"options": {"A": "one", "B": "two"}},
        {"response_a": "one", "response_b": "two"},
        {"option_a": "one", "option_b": "two"},
        {"A": "one", "B": "two"},
    ],
)
def test_letters_and_places_are_not_trained_as_the_answers(answers: Row, chosen: str, rejected: str) -> None:
    with pytest.raises(DataError, match=r"may name .*write the answers' texts into them"):
        read([{"prompt": "Q", **answers, "chosen": chosen, "rejected": rejected}])


def test_the_setting_of_the_message_reads_them_as_names() -> None:
    row = {"prompt": "Q", "responses": ["one", "two"], "chosen": "B", "rejected": "A"}
    with pytest.raises(DataError) as caught:
        read([row])
    assert str(caught.value) == (
        "data.path: ROWS: the sides are 'B' and 'A', which may name the answers of responses; where they name them, leave "
        "the losing side out (data.ignore_columns: [rejected]), or write the answers' texts into them; where they are the "
        "answers themselves, leave the others out (data.ignore_columns: [responses]) (row 1)"
    )
    assert read([row], ignore_columns=["rejected"]).pairs == [(1, Pair("Q", "two", "one"))]
    assert read([row], ignore_columns=["responses"]).pairs == [(1, Pair("Q", "B", "A"))]


def test_also_by_the_settings_that_name_the_sides() -> None:
    row = {"prompt": "Q", "response_a": "one", "response_b": "two", "good": "B", "poor": "A"}
    with pytest.raises(DataError, match="the sides are 'B' and 'A', which may name response_a and response_b"):
        read([row], chosen_feature="good", rejected_feature="poor")


@pytest.mark.parametrize(
    "more",
    [
        {"completions": [{"id": "x7", "text": "one"}, {"id": "x9", "text": "two"}]},
        {"responses": ["one", "two"], "models": ["x7", "x9"]},
        {"response_a": "one", "response_b": "two", "model_a": "x7", "model_b": "x9"},
    ],
)
def test_ids_and_models_are_names_too(more: Row) -> None:
    with pytest.raises(DataError, match="the sides are 'x9' and 'x7', which may name"):
        read([{"prompt": "Q", **more, "chosen": "x9", "rejected": "x7"}])


@pytest.mark.parametrize(
    ("more", "chosen", "rejected"),
    [
        ({"responses": ["one", "two"]}, "two", "one"),
        ({"options": ["yes", "no"]}, "no", "yes"),
        ({"responses": ["4", "5"]}, "5", "4"),
        ({}, "B", "A"),
        ({"tags": ["a", "b"]}, "B", "A"),
        ({"choices": ["A", "B"]}, "B", "A"),
        ({"A": "yes", "B": "no"}, "no", "yes"),
        ({"responses": [chat("Q", "yes"), chat("Q", "no")]}, "yes", "no"),
    ],
)
def test_short_answers_stay_answers(more: dict[str, Any], chosen: str, rejected: str) -> None:
    assert read([{"prompt": "Q", **more, "chosen": chosen, "rejected": rejected}]).pairs == [
        (1, Pair("Q", chosen, rejected))
    ]


def test_a_text_that_is_the_letter_of_another_one_is_not_certain() -> None:
    with pytest.raises(DataError, match="which may name the answers of choices"):
        read([{"prompt": "Q", "choices": ["B", "A"], "chosen": "B", "rejected": "A"}])


def test_a_message_that_is_a_letter_names_an_answer_as_well() -> None:
    with pytest.raises(DataError, match="the sides are 'B' and 'A', which may name the answers of responses"):
        read([{"prompt": "Q", "responses": ["one", "two"], "chosen": [answer("B")], "rejected": [answer("A")]}])


def test_the_last_turn_of_a_transcript_that_is_a_letter_names_an_answer_as_well() -> None:
    sides = {side: f"\n\nHuman: Q\n\nAssistant: {mark}" for side, mark in (("chosen", "B"), ("rejected", "A"))}
    dataset = read([sides])
    assert [(pair.chosen, pair.rejected) for _, pair in dataset.pairs] == [([answer("B")], [answer("A")])]
    with pytest.raises(DataError, match="the sides are 'B' and 'A', which may name the answers of responses"):
        read([{"responses": ["one", "two"], **sides}])
