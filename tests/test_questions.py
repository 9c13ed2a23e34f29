"""Columns that nobody read and that may be the prompt, or a part of it."""

from __future__ import annotations

from typing import Any

import pytest
from dataset_rows import Row, user
from reading_rows import read

from prefd.daemon.worker.questions import count_words
from prefd.daemon.worker.rows import DataError

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


def test_words_are_counted_also_where_no_spaces_are_between_them() -> None:
    assert [count_words(text) for text in ("", "Why is it?", "天空为什么是蓝的", "猫 and dog")] == [0, 3, 4, 2]
