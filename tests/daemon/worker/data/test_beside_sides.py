"""Columns beside the sides that decide something and were not read: refused, and never passed over."""

from __future__ import annotations

from typing import Any

import pytest

from prefd.daemon.worker.data.rows import DataError
from support.dataset_rows import TRIPLES, Row, Triple, answer, chat, user
from support.reading_rows import read

CALL = {"type": "function", "function": {"name": "w", "arguments": "{}"}}


def rows(**more: Any) -> list[Row]:
    """The triples by their usual names, and columns that are the same in all rows or made of a triple."""
    return [
        {"prompt": t.question, "chosen": t.better, "rejected": t.worse}
        | {column: value(t) if callable(value) else value for column, value in more.items()}
        for t in TRIPLES
    ]


def refusal(**more: Any) -> str:
    with pytest.raises(DataError) as refused:
        read(rows(**more))
    assert len(read(rows(**more), ignore_columns=list(more)).pairs) == 3
    return str(refused.value)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("chosen_thinking", lambda t: f"I think of {t.better}"),
        ("rejected_reasoning", "It may be so."),
        ("chosen_tool_calls", [CALL]),
        ("chosen_prompt", "Why is it so?"),
        ("prompt_rejected", lambda t: f"{t.question} Be brief."),
        ("prefill", "Sure, here it is:"),
        ("response_prefix", "Sure,"),
    ],
)
def test_a_part_of_a_side_is_asked_about(column: str, value: Any) -> None:
    assert f"the column {column!r} looks like a part of an answer or its prompt and is not read" in refusal(
        **{column: value}
    )


def test_a_prompt_of_each_side_that_repeats_the_prompt_says_nothing() -> None:
    assert len(read(rows(chosen_prompt=lambda t: t.question, rejected_prompt=lambda t: t.question)).pairs) == 3
    assert len(read(rows(chosen_thinking="", rejected_tool_calls=[])).pairs) == 3


@pytest.mark.parametrize(
    ("column", "side", "value"),
    [
        ("better", "chosen", lambda t: t.worse),
        ("preferred_response", "chosen", lambda t: t.worse),
        ("worse", "rejected", lambda t: t.better),
    ],
)
def test_a_further_side_with_the_text_of_the_other_one_is_refused(column: str, side: str, value: Any) -> None:
    assert f"the column {column!r} is by its name the {side} answer, and has the other one's text" in refusal(
        **{column: value}
    )


@pytest.mark.parametrize(
    ("column", "value"), [("winner", "chosen"), ("better", lambda t: t.better), ("winner", "model_a")]
)
def test_a_column_that_agrees_with_the_sides_says_nothing(column: str, value: Any) -> None:
    assert len(read(rows(**{column: value})).pairs) == 3


@pytest.mark.parametrize("column", ["rejected_2", "rejected2", "chosen_alt", "other_rejected", "second_rejected"])
@pytest.mark.parametrize("value", ["It is another one.", ["It is another one.", "Or this one."]])
def test_a_further_answer_on_a_side_is_asked_about(column: str, value: Any) -> None:
    assert f"the column {column!r} looks like an answer and says something else" in refusal(**{column: value})


@pytest.mark.parametrize(
    "column",
    [
        *("sys", "developer", "developer_message", "preprompt", "assistant_persona", "role_play", "anything"),
        *("description", "persona_note", "model_persona", "character_description", "task_description", "role"),
        *("instruction_system", "prompt_system", "model_system_prompt", "systemPromptText"),
    ],
)
def test_the_words_of_a_system_turn_are_asked_about(column: str) -> None:
    message = refusal(**{column: "You are a sailor."})
    assert f"the column {column!r} looks like a system turn" in message
    assert f"data.system_feature: {column}" in message


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("chat_history", chat("Hi", "Hello")),
        ("chat_history", "User: Hi"),
        ("previous_turns", [["Hi", "Hello"]]),
        ("memory", [user("Hi"), answer("Hello")]),
    ],
)
def test_turns_that_were_not_read_are_asked_about(column: str, value: Any) -> None:
    assert f"the column {column!r} looks like turns before the prompt" in refusal(**{column: value})


@pytest.mark.parametrize(
    "column", ["judge_system_prompt", "annotator_persona", "reward_system", "evaluation_role", "notes", "feedback"]
)
def test_what_is_said_to_those_who_judge_is_listed_as_not_read(column: str) -> None:
    dataset = read(rows(**{column: "You are a sailor."}))
    assert (len(dataset.pairs), dataset.unread) == (3, [column])


@pytest.mark.parametrize("value", [["One.", "Two."], [{"text": "One.", "score": 1}, {"text": "Two.", "score": 2}]])
def test_a_list_of_answers_of_which_neither_side_is_one_is_asked_about(value: Any) -> None:
    message = refusal(responses=value)
    assert "the column 'responses' is a list of answers, and neither chosen nor rejected is one of them" in message
    assert "(data.ignore_columns: [chosen, rejected])" in message
    assert "(data.ignore_columns: [responses])" in message


def test_a_list_of_answers_with_one_of_the_sides_says_nothing() -> None:
    assert len(read(rows(generations=lambda t: [t.better, "Another one."])).pairs) == 3
    assert len(read(rows(correct_answers=["One.", "Two."])).pairs) == 3


def test_a_name_with_another_system_in_it_is_no_turn() -> None:
    assert read(rows(operating_system="Linux, as it was")).unread == ["operating_system"]


def test_turns_that_were_read_and_those_about_the_answers_say_nothing() -> None:
    assert len(read(rows(turns_told=lambda t: [user(t.question)])).pairs) == 3
    assert len(read(rows(critique=[user("Rate them."), answer("9 and 8")], judge_comment="You are right.")).pairs) == 3


@pytest.mark.parametrize("column", ["available_tools", "tool_schemas", "tool_list", "apis", "functions"])
@pytest.mark.parametrize("value", [[{"name": "w"}], "w(city): the weather"])
def test_tools_by_their_name_are_asked_about(column: str, value: Any) -> None:
    assert f"the column {column!r} looks like tools and is not read" in refusal(**{column: value})


@pytest.mark.parametrize(("column", "held_out"), [("split", "test"), ("Split", "validation"), ("data_split", "dev")])
def test_rows_that_say_that_they_are_held_out_are_not_trained_on(column: str, held_out: str) -> None:
    def split(t: Triple) -> str:
        return held_out if t == TRIPLES[1] else "train"

    assert f"the column {column!r} says that rows are of several splits" in refusal(**{column: split})
    assert len(read(rows(**{column: "train"})).pairs) == len(read(rows(**{column: "valid1"})).pairs) == 3


def test_ranks_that_say_the_opposite_are_told_of() -> None:
    dataset = read(rows(chosen_rank=2, rejected_rank=1))
    assert "in 3 pairs chosen has the worse rank, where 1 is the best (rows 1, 2, 3)" in dataset.notes
    assert dataset.unread == []
    assert read(rows(chosen_rank=1, rejected_rank=2)).notes == []


@pytest.mark.parametrize("name", ["{}_rewards", "helpfulness_{}", "{}_quality", "avg_ratings_{}"])
def test_scores_by_any_of_their_names_are_compared(name: str) -> None:
    dataset = read(rows(**{name.format("chosen"): 1, name.format("rejected"): 3}))
    assert [pair.margin for _, pair in dataset.pairs] == [-2, -2, -2]
