"""Prompts and answers that are lists of turns, written as text: JSON is read, Python's repr is refused."""

from __future__ import annotations

import pytest

from prefd.plugins.types import Pair
from support.dataset_rows import answer, user
from support.reading_rows import read

REPR = (
    "the prompt is Python's repr of a list; write JSON (json.dumps, or DataFrame.to_json(orient='records', lines=True))"
)
UNFIT = "wrong types: the prompt is a list of turns, and an answer has not one text for each"


def reasons(prompt: str, chosen: str, rejected: str) -> set[str]:
    dataset = read([{"prompt": prompt, "chosen": chosen, "rejected": rejected}])
    assert dataset.pairs == []
    return {str(reason) for _, reason in dataset.unusable}


@pytest.mark.parametrize(
    "prompt",
    [
        "['Q']",
        " ['Q', 'R']\n",
        """["It's", 'R']""",
        "['Q' 'R']",
        """["It's" "That's"]""",
        '["Q",]',
        "array(['Q'], dtype=object)",
    ],
)
def test_python_s_repr_is_refused(prompt: str) -> None:
    assert reasons(prompt, "['a']", "['b']") == {REPR}
    assert reasons(prompt, "a", "b") == {REPR}


@pytest.mark.parametrize(
    ("chosen", "rejected"), [("a", "b"), ('["a"]', "b"), ("['a']", "['b']"), ('["a", "c"]', '["b"]')]
)
def test_a_list_of_turns_whose_answers_are_none_is_refused(chosen: str, rejected: str) -> None:
    assert reasons('["Q"]', chosen, rejected) == {UNFIT}


def test_json_is_read_as_turns() -> None:
    row = {"prompt": ' ["Its Q"]', "chosen": '["a"]', "rejected": ' ["b"]'}
    assert read([row]).pairs == [(1, Pair([user("Its Q")], [answer("a")], [answer("b")]))]


@pytest.mark.parametrize("prompt", ["[1, 2] sorted?", "[INST] Q [/INST]", "['a'] or ['b']?", "Sort ['b', 'a']"])
def test_a_text_that_only_has_brackets_is_a_prompt(prompt: str) -> None:
    dataset = read([{"prompt": prompt, "chosen": '["a"]', "rejected": "['b']"}])
    assert dataset.pairs == [(1, Pair(prompt, '["a"]', "['b']"))]


@pytest.mark.parametrize("instruction", ['["Q"]', "['Q']", '["Q", "R"]'])
def test_a_list_of_turns_with_an_input_is_not_joined_as_text(instruction: str) -> None:
    dataset = read([{"instruction": instruction, "input": "more", "chosen": "a", "rejected": "b"}])
    assert dataset.pairs == []
    (reason,) = {str(reason) for _, reason in dataset.unusable}
    assert (
        reason
        == "wrong types: instruction is a list of turns, written as text, and only a text can be joined to another"
    )


@pytest.mark.parametrize("source", ['["banana", "apple"]', "['banana', 'apple']", "[3, 1]"])
def test_a_list_as_the_input_of_an_instruction_is_a_text(source: str) -> None:
    dataset = read([{"instruction": "Sort it.", "input": source, "chosen": "a", "rejected": "b"}])
    assert dataset.pairs == [(1, Pair(f"Sort it.\n{source}", "a", "b"))]
