"""The prompt under other names, with system turns and histories, and prompts of several columns."""

from __future__ import annotations

import json
from typing import Any

import pytest

from prefd.daemon.worker.data.rows import DataError
from prefd.plugins.formats.json_cells import decode_row
from prefd.plugins.types import Pair
from support.dataset_rows import TRIPLES, Row, answer, chat, user
from support.reading_rows import as_messages, of, read


class TestPrompt:
    def test_several_columns_are_joined_where_the_spec_names_them(self) -> None:
        rows = of("question", "chosen", "rejected", context="A page about it.", id=1)
        dataset = read(rows, prompt_feature=["context", "question"])
        assert dataset.pairs[0][1].prompt == f"A page about it.\n{TRIPLES[0].question}"
        assert dataset.unread == ["id"]
        with pytest.raises(
            DataError, match=r"data\.prompt_feature: ROWS has no column 'contxt'; .* Did you mean 'context'"
        ):
            read(rows, prompt_feature=["contxt", "question"])
        assert [
            str(reason)
            for _, reason in read([row | {"context": 5} for row in rows], prompt_feature=["context"]).unusable
        ] == ["wrong types: context is a number, and only texts can be joined"] * 3

    def test_a_system_column_is_a_system_turn_where_it_says_something(self) -> None:
        rows = [
            row | {"system": system} for row, system in zip(of("prompt", "chosen", "rejected"), ("Be kind.", "", None))
        ]
        dataset = read(rows)
        assert [pair.prompt for _, pair in dataset.pairs] == [
            [{"role": "system", "content": "Be kind."}, user(TRIPLES[0].question)],
            TRIPLES[1].question,
            TRIPLES[2].question,
        ]

    def test_a_system_column_of_any_name_where_the_spec_names_it(self) -> None:
        dataset = read(of("prompt", "chosen", "rejected", persona="Be kind."), system_feature="persona")
        assert as_messages(dataset.pairs[0][1])[0] == {"role": "system", "content": "Be kind."}
        assert dataset.unread == []

    def test_a_system_turn_that_is_there_is_not_there_twice(self) -> None:
        turn = {"role": "system", "content": "Be kind."}
        row = {"system": " Be kind.", "chosen": [turn, *chat("Q", "a")], "rejected": [turn, *chat("Q", "b")]}
        assert read([row]).pairs == [(1, Pair([turn, user("Q")], [answer("a")], [answer("b")]))]
        with pytest.raises(DataError, match="the column 'system' is not the system turn of the messages"):
            read([row | {"system": "Be rude."}])

    def test_a_system_column_stands_before_a_conversation_without_one(self) -> None:
        row = {"system": "Be kind.", "chosen": chat("Q", "a"), "rejected": chat("Q", "b")}
        assert as_messages(read([row]).pairs[0][1]) == [{"role": "system", "content": "Be kind."}, user("Q")]

    def test_a_history_of_messages_comes_before_the_prompt(self) -> None:
        row = {"history": chat("Before?", "Yes."), "prompt": "Now?", "chosen": "a", "rejected": "b"}
        assert as_messages(read([row]).pairs[0][1]) == [*chat("Before?", "Yes."), user("Now?")]

    def test_a_history_that_is_no_turns_is_refused(self) -> None:
        rows = of("prompt", "chosen", "rejected", history=["Before?", "Yes."])
        with pytest.raises(DataError, match="the column 'history' is neither chat messages nor pairs of"):
            read(rows)
        assert read(rows, ignore_columns=["history"]).pairs[0][1].prompt == TRIPLES[0].question

    def test_a_conversation_that_ends_with_the_chosen_answer_is_the_prompt_without_it(self) -> None:
        row = {"messages": chat("Q", "a"), "chosen": "a", "rejected": "b"}
        assert read([row]).pairs == [(1, Pair([user("Q")], "a", "b"))]

    def test_how_many_words_became_the_prompt_is_said(self) -> None:
        rows = [{"chosen": f"Say {'a ' * n}yes", "rejected": f"Say {'a ' * n}no"} for n in (1, 2, 4)]
        assert read(rows).notes == [
            "no column is the prompt: it is the words that both sides begin with, 2 to 5 of them (median 3)"
        ]


def test_the_tools_of_openais_files_reach_the_pair() -> None:
    tools = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}]
    call = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": "now", "arguments": {}}}],
    }
    row = {
        "input": {"messages": [user("What time is it?")], "tools": tools, "parallel_tool_calls": True},
        "preferred_output": [call],
        "non_preferred_output": [answer("I do not know.")],
    }
    dataset = read([row])
    assert dataset.pairs == [(1, Pair([user("What time is it?")], [call], [answer("I do not know.")], tools))]
    strange = read([row | {"input": {**row["input"], "temperature": 1.0}}])
    assert [str(reason) for _, reason in strange.unusable] == ["input has temperature beside messages and tools"]


@pytest.mark.parametrize("blank", ["", "  ", [user(" ")]])
@pytest.mark.parametrize("column", ["prompt", "question"])
def test_a_prompt_that_says_nothing_is_not_trained_on(column: str, blank: Any) -> None:
    rows = of(column, "chosen", "rejected")
    dataset = read([rows[0], rows[1] | {column: blank}, rows[2]])
    assert [number for number, _ in dataset.pairs] == [1, 3]
    assert [(number, str(reason)) for number, reason in dataset.unusable] == [(2, "empty prompt")]


def test_a_blank_prompt_is_never_what_the_sides_begin_with() -> None:
    dataset = read([{"prompt": "", "chosen": "The answer is good", "rejected": "The answer is bad"}])
    assert [str(reason) for _, reason in dataset.unusable] == ["empty prompt"]


def test_where_the_prompt_is_blank_in_all_rows_the_question_is_it() -> None:
    dataset = read([row | {"prompt": "", "input": None} for row in of("question", "chosen", "rejected")])
    assert [pair for _, pair in dataset.pairs] == [Pair(*triple) for triple in TRIPLES]
    assert dataset.unread == []


def test_messages_under_a_name_of_their_own_are_to_be_named() -> None:
    rows = [
        {"context_messages": [user(t.question)], "chosen": [answer(t.better)], "rejected": [answer(t.worse)]}
        for t in TRIPLES
    ]
    with pytest.raises(
        DataError, match=r"no column is known to be the prompt; name it \(data.prompt_feature: context_m"
    ):
        read(rows)
    dataset = read(rows, prompt_feature="context_messages")
    assert dataset.pairs[0][1] == Pair(
        [user(TRIPLES[0].question)], [answer(TRIPLES[0].better)], [answer(TRIPLES[0].worse)]
    )


def test_a_system_turn_that_only_the_prompt_column_has_is_kept() -> None:
    turn = {"role": "system", "content": "Be kind."}
    row = {"prompt": [turn, user("Q")], "chosen": chat("Q", "a"), "rejected": chat("Q", "b")}
    assert read([row]).pairs == [(1, Pair([turn, user("Q")], [answer("a")], [answer("b")]))]
    assert read([row | {"system": "Be kind."}]).pairs == read([row]).pairs
    with pytest.raises(DataError, match="and has a system turn that they have not; write the messages that are meant"):
        read([row | {"prompt": [turn, user("Another?")]}])


@pytest.mark.parametrize(("value", "kind"), [(5, "a number"), (True, "a boolean"), ([answer("x")], "a list")])
def test_an_input_that_is_no_text_is_not_left_out(value: Any, kind: str) -> None:
    dataset = read(of("instruction", "chosen", "rejected", input=value))
    assert {str(reason) for _, reason in dataset.unusable} == {
        f"wrong types: input is {kind}, not text to set behind instruction"
    }


def test_nan_in_a_column_is_nothing() -> None:
    rows = of("question", "chosen", "rejected", system=float("nan"), history=float("nan"), images=float("nan"))
    dataset = read(rows)
    assert [as_messages(pair) for _, pair in dataset.pairs] == [[user(t.question)] for t in TRIPLES]


def test_a_system_turn_as_json_text_of_parts_is_its_text() -> None:
    dataset = read(of("prompt", "chosen", "rejected", system='[{"type": "text", "text": "Be brief."}]'))
    assert as_messages(dataset.pairs[0][1])[0] == {"role": "system", "content": "Be brief."}
    dataset = read(of("prompt", "chosen", "rejected", system="[{'type': 'text', 'text': 'Be brief.'}]"))
    assert {str(reason).partition(";")[0] for _, reason in dataset.unusable} == {"Python's repr of messages"}


@pytest.mark.parametrize(
    ("column", "more"),
    [
        ("prompt", {"system": "Be brief."}),
        ("question", {"context": "A long passage."}),
        ("request", {"choices": ["one", "two"]}),
    ],
)
def test_an_object_that_says_more_than_its_text_is_refused(column: str, more: Row) -> None:
    rows: list[Row] = [{column: {"text": t.question} | more, "chosen": t.better, "rejected": t.worse} for t in TRIPLES]
    with pytest.raises(DataError) as caught:
        read(rows)
    (key,) = more
    assert f"the column {column!r} is an object that has {key!r} beside its text, which would not be read" in str(
        caught.value
    )


@pytest.mark.parametrize(
    "more",
    [
        {"dataset": "eli5", "id": "1"},
        {"lang": "en", "title": ""},
        {"answered": True, "n": 3},
        {"also": "How many legs"},
    ],
)
def test_what_is_about_the_text_or_repeats_it_hinders_nothing(more: Row) -> None:
    row = {"question": {"full_text": "How many legs has it?"} | more, "chosen": "a", "rejected": "b"}
    assert [pair.prompt for _, pair in read([row]).pairs] == ["How many legs has it?"]


def test_json_text_of_such_an_object_is_a_prompt_where_the_spec_names_it() -> None:
    text = json.dumps({"text": "How many legs has it?", "task": "Translate it."})
    row = decode_row({"prompt": text, "chosen": "a", "rejected": "b"})
    assert [pair.prompt for _, pair in read([row], prompt_feature="prompt").pairs] == [text]
    with pytest.raises(DataError, match=r"1 of 1 pairs prompt is text that was written as a list, an object"):
        read([row])


def test_exchanges_that_say_more_are_refused() -> None:
    row = {"conversation": [{"input": "Hi", "output": "Ho", "system": "Be brief."}], "chosen": "a", "rejected": "b"}
    with pytest.raises(DataError, match="the column 'conversation' looks like the prompt and is neither text nor chat"):
        read([row])


def test_what_a_posts_info_says_beside_it_is_not_passed_over() -> None:
    info = {"post": "I fell.", "title": "Falling", "site": "reddit", "id": "t3", "subreddit": "falls"}
    row = {"info": info, "summaries": [{"text": "He fell."}, {"text": "He sat."}], "choice": 0}
    assert [str(pair.prompt).count("I fell.") for _, pair in read([row]).pairs] == [1]
    dataset = read([row | {"info": info | {"question": "Why did he?"}}])
    assert [str(reason) for _, reason in dataset.unusable] == [
        "info has 'question' beside the post, which would not be read"
    ]
