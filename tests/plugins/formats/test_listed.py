"""Several answers on a side, as RewardBench 2 has them: taken only where the spec says how, for nobody ranks them."""

from __future__ import annotations

from typing import Any

import pytest

from prefd.daemon.worker.data.rows import DataError
from prefd.plugins.formats.prompt import answer_text
from support.dataset_rows import TRIPLES, Row, answer, chat
from support.reading_rows import read, texts

WRONG = ["Nobody knows.", "It is not known."]


def rows(right: int = 1, wrong: int = 3) -> list[Row]:
    return [
        {
            "id": str(number),
            "prompt": t.question,
            "chosen": [t.better, f"Surely: {t.better}"][:right],
            "rejected": [t.worse, *WRONG][:wrong],
            "num_correct": right,
            "num_incorrect": wrong,
            "models": ["a", "b", "c", "d"][: right + wrong],
            "subset": "Factuality",
        }
        for number, t in enumerate(TRIPLES)
    ]


def refusal(rows: list[Row], **spec: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(rows, **spec)
    return str(caught.value)


@pytest.mark.parametrize("pairs", ["best_rest", "all"])
def test_the_chosen_answer_is_taken_against_each_rejected_one(pairs: Any) -> None:
    dataset = read(rows(), pairs=pairs)
    assert dataset.format == "listed"
    assert texts(dataset) == [(t.better, worse) for t in TRIPLES for worse in (t.worse, *WRONG)]
    assert [pair.prompt for _, pair in dataset.pairs][::3] == [t.question for t in TRIPLES]
    assert [number for number, _ in dataset.pairs] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert dataset.unread == ["id", "num_correct", "num_incorrect", "models", "subset"]


def test_which_is_the_worst_is_not_known() -> None:
    message = (
        "rejected has 3 answers, and nothing says which is the worst: data.pairs: best_rest takes the chosen one against "
        "each of them (rows 1, 2, 3)"
    )
    assert refusal(rows()).endswith(message)


@pytest.mark.parametrize("pairs", ["best_worst", "best_rest"])
def test_which_is_the_best_is_not_known(pairs: str) -> None:
    message = "chosen has 2 answers, and nothing says which is the best: data.pairs: all takes each of them against each of rejected"
    assert message in refusal(rows(right=2, wrong=1), pairs=pairs)
    dataset = read(rows(right=2, wrong=1), pairs="all")
    assert texts(dataset)[:2] == [
        (TRIPLES[0].better, TRIPLES[0].worse),
        (f"Surely: {TRIPLES[0].better}", TRIPLES[0].worse),
    ]


def test_one_answer_on_each_side_needs_no_setting() -> None:
    assert texts(read(rows(wrong=1))) == [(t.better, t.worse) for t in TRIPLES]


@pytest.mark.parametrize("as_side", [answer, lambda text: [answer(text)], lambda text: chat("Who?", text)])
def test_answers_may_be_messages_and_one_side_may_be_no_list(as_side: Any) -> None:
    rows_given = [{"prompt": "Who?", "chosen": as_side("He."), "rejected": [as_side("She."), as_side("They.")]}]
    if as_side is answer:  # a list of messages is one side
        rows_given[0]["rejected"] = ["She.", "They."]
    dataset = read(rows_given, pairs="best_rest")
    assert [(answer_text(pair.chosen), answer_text(pair.rejected)) for _, pair in dataset.pairs] == [
        ("He.", "She."),
        ("He.", "They."),
    ]


def test_sides_that_the_spec_names_are_told_by_their_names() -> None:
    renamed_rows = [{"prompt": row["prompt"], "right": row["chosen"], "wrong": row["rejected"]} for row in rows()]
    named = {"chosen_feature": "right", "rejected_feature": "wrong"}
    assert "wrong has 3 answers" in refusal(renamed_rows, **named)
    assert texts(read(renamed_rows, pairs="best_rest", **named)) == texts(read(rows(), pairs="best_rest"))


def test_what_is_no_answer_is_left_out_with_why() -> None:
    good = rows(wrong=2)
    odd = [
        good[0] | {"chosen": []},
        good[0] | {"rejected": ["b", 3]},
        good[0] | {"rejected": ["b", " "]},
        good[0] | {"rejected": None},
    ]
    dataset = read([*good, *odd], pairs="best_rest")
    assert [(number, str(reason)) for number, reason in dataset.unusable] == [
        (4, "chosen has no answer"),
        (5, "wrong types: answer 2 of rejected is a number, not text or chat messages"),
        (6, "empty completion"),
        (7, "wrong types: rejected is missing, not text or a list of answers"),
    ]
    assert len(dataset.pairs) == 7


def test_two_outputs_of_which_nobody_says_the_better_one_are_refused() -> None:
    """LLaMA-Factory's older ranking data, whose order is said in a file beside it."""
    rows = [{"instruction": t.question, "input": "", "output": [t.better, t.worse]} for t in TRIPLES]
    message = refusal(rows)
    assert "has lists of answers ('output'), and nothing says which of them is the better one" in message
    assert "where the first is the better one, as in LLaMA-Factory's ranking data, that one into 'chosen'" in message
    mended = [{"instruction": row["instruction"], "answers": row["output"], "scores": [1, 0]} for row in rows]
    assert texts(read(mended)) == [(t.better, t.worse) for t in TRIPLES]
