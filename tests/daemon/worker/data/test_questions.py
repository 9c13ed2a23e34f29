"""Columns that nobody read and that may be the prompt, or a part of it."""

from __future__ import annotations

from typing import Any

import pytest

from prefd.daemon.worker.data.questions import count_words
from prefd.daemon.worker.data.rows import DataError
from support.dataset_rows import Row, user
from support.reading_rows import read

SIDES = {"chosen": "The answer is good", "rejected": "The answer is bad"}


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("task", ["Write a poem", "Write a poem"]),
        ("问题", ["天空为什么是蓝的", "天空为什么是蓝的"]),
        ("context_messages", [[user("Write a poem")], [user("Write a poem")]]),
        ("source_text", ["A page", "Another page"]),
        ("model_input", ["Say red", "Say blue"]),
        ("text_id", ["Why is the sky blue?", "Why is the sea blue?"]),
        ("topic", ["Why is the sky blue?", "Why is the sea blue?"]),
        ("turns", [["Question 1"], ["Question 2"]]),
        ("task", ["Poem", "Poem"]),
        ("meta", [{"a": {"q": "Write a poem"}}, {"a": {"q": "Write a play"}}]),
        ("info", [{"q": "Why is it?"}, {"q": "Why was it?"}]),
    ],
)
def test_words_that_may_be_the_prompt_are_never_left_for_those_of_the_answer(column: str, values: list[Any]) -> None:
    with pytest.raises(DataError) as caught:
        read([{column: value, **SIDES} for value in values])
    assert (
        f"no column is known to be the prompt, and '{column}' may be it; name it (data.prompt_feature: {column})"
        in str(caught.value)
    )


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("source", ["my own set of data", "my own set of data", "my own set of data"]),
        ("chosen_model", ["llama", "gpt", "qwen"]),
        ("tags", [["maths", "hard", "long"], ["art"], ["maths", "easy"]]),
        ("score_chosen", ["4.5", "3", "2"]),
        ("difficulty", [1, 2, 3]),
        ("language", ["English"] * 3),
        ("notes", ["ok"] * 3),
        ("full_chosen", [SIDES["chosen"]] * 3),
        ("beginning", ["The answer is"] * 3),
        ("all_responses", [list(SIDES.values())] * 3),
    ],
)
def test_what_is_about_the_row_or_repeats_it_hinders_nothing(column: str, values: list[Any]) -> None:
    rows: list[Row] = [{column: value, **SIDES} for value in values]
    assert [pair.prompt for _, pair in read(rows).pairs] == ["The answer is"] * 3


def starting(*starts: str) -> list[Row]:
    """Rows of answers alone that begin so, without the prompts that they answer."""
    return [{"chosen": f"{start} good{place}", "rejected": f"{start} bad{place}"} for place, start in enumerate(starts)]


@pytest.mark.parametrize("starts", [["The answer is"] * 3, ["Sure, here it is:"] * 6 + ["I think"], ["答案是"] * 4])
def test_answers_that_begin_alike_are_no_prompts_with_answers(starts: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        read(starting(*starts))
    assert (
        f"data.path: ROWS: the first words that both sides have are the same in many rows ({starts[0]!r} in {starts.count(starts[0])} "
        f"of {len(starts)} different ones), as where answers begin alike: these are answers without their prompts; add a column 'prompt'"
    ) == str(caught.value)


@pytest.mark.parametrize(
    "starts",
    [
        ["The answer is"] * 2,
        ["Why is the sky blue?", "Why is the sea blue?", "Why is the sky blue?", "Who said so?"],
        ["Tell me all about the reasons for which the sky is blue."] * 5,
    ],
)
def test_prompts_that_a_few_rows_share_are_prompts(starts: list[str]) -> None:
    assert [pair.prompt for _, pair in read(starting(*starts)).pairs] == starts


def test_words_are_counted_also_where_no_spaces_are_between_them() -> None:
    assert [count_words(text) for text in ("", "Why is it?", "天空为什么是蓝的", "猫 and dog")] == [0, 3, 4, 2]


def beside(**columns: list[Any]) -> list[Row]:
    """Rows of a question and its sides, with other columns before them."""
    return [
        {**{column: values[n] for column, values in columns.items()}, "question": f"How many of {n}?"}
        | {"chosen": f"Just {n}.", "rejected": f"None of {n}.", "weight": 1.0}
        for n in range(2)
    ]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (
            {"schema": ["CREATE TABLE a (b INT)", "CREATE TABLE c (d INT)"]},
            (
                "the column 'schema' may belong to the prompt and is not read; join it (data.prompt_feature: [schema, question]), "
                "or leave it out (data.ignore_columns: [schema])"
            ),
        ),
        (
            {"title": ["Of cats", "Of dogs"], "body": ["They are many.", "They are few."]},
            (
                "the columns 'title' and 'body' may belong to the prompt and are not read; join them (data.prompt_feature: "
                "[title, body, question]), or leave them out (data.ignore_columns: [title, body])"
            ),
        ),
        (
            {"知识": ["猫有四条腿和一条尾巴", "狗有四条腿和一条尾巴"]},
            "the column '知识' may belong to the prompt and is not read; join it (data.prompt_feature: [知识, question])",
        ),
        (
            {"documents": [["A page."], ["Another page."]]},
            (
                "the column 'documents' may belong to the prompt and is not read; write it into the column 'question', or leave it "
                "out (data.ignore_columns: [documents])"
            ),
        ),
        ({"text": ["A page about it."] * 2}, "[text, question]"),
        ({"sql_schema": ["CREATE TABLE a (b INT)"] * 2}, "[sql_schema, question]"),
        ({"lore": ["What a cat is.", "What a dog is."]}, "[lore, question]"),
    ],
)
def test_what_may_belong_to_the_prompt_is_not_passed_over(columns: dict[str, list[Any]], says: str) -> None:
    rows = beside(**columns)
    with pytest.raises(DataError) as caught:
        read(rows)
    assert says in str(caught.value)
    assert [pair.prompt for _, pair in read(rows, ignore_columns=list(columns)).pairs] == [
        "How many of 0?",
        "How many of 1?",
    ]


def test_the_setting_that_joins_them_gives_the_whole_prompt() -> None:
    rows = beside(title=["Of cats", "Of dogs"], body=["They are many.", "They are few."])
    dataset = read(rows, prompt_feature=["title", "body", "question"])
    assert dataset.pairs[0][1].prompt == "Of cats\nThey are many.\nHow many of 0?"


@pytest.mark.parametrize(
    "columns",
    [
        {"title": ["How many of 0?", "How many of 1?"]},
        {"text": ["How many of 0? Just 0.", "How many of 1? Just 1."]},
        {"body": ["", None]},
        {"rationale": ["It is the right one of both.", "It is much more to the point."]},
        {"original_answer": ["It was another one once.", "It was never there at all."]},
        {"task": ["counting", "counting"]},
        {"source_url": ["https://a.example", "https://b.example"]},
        {"quotes_0": ["What a cat is.", "What a dog is."]},
        {"remarks": ["of no great use"] * 2},
    ],
)
def test_what_repeats_it_or_is_said_of_it_hinders_nothing(columns: dict[str, list[Any]]) -> None:
    assert [pair.prompt for _, pair in read(beside(**columns)).pairs] == ["How many of 0?", "How many of 1?"]


def test_a_few_rows_with_a_context_of_their_own_are_left_out() -> None:
    rows: list[Row] = [{"prompt": f"How many of {n}?", "chosen": f"Just {n}.", "rejected": "None."} for n in range(20)]
    rows[3]["schema"] = "CREATE TABLE a (b INT)"
    dataset = read(rows)
    assert [number for number, _ in dataset.unusable] == [4]
    assert len(dataset.pairs) == 19


def test_what_messages_may_be_about_is_not_passed_over() -> None:
    rows: list[Row] = [
        {
            "schema": f"CREATE TABLE t{n} (a INT)",
            "title": f"Of {n}",
            "prompt": [user(f"How many of {n}?")],
            "chosen": "a",
        }
        | {"rejected": "b"}
        for n in range(2)
    ]
    with pytest.raises(DataError) as caught:
        read(rows)
    assert (
        "the column 'schema' may belong to the prompt and is not read; write it into the prompt's messages, or leave it out "
        "(data.ignore_columns: [schema])"
    ) in str(caught.value)
    assert read(rows, ignore_columns=["schema"]).pairs[1][1].prompt == [user("How many of 1?")]
    changed_rows = [row | {"prompt": [user(f"{row['schema']}\nHow many?")]} for row in rows]
    assert len(read(changed_rows).pairs) == 2
