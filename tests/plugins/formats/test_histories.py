"""The turns before a prompt stand there once, whatever the prompt repeats of them."""

from __future__ import annotations

from typing import Any

import pytest

from prefd.daemon.worker.data.rows import DataError
from support.dataset_rows import TRIPLES, answer, chat, user
from support.reading_rows import as_messages, read

HELLO, AGAIN = chat("Hello", "What is it?"), chat("One more", "Go on")
SYSTEM = {"role": "system", "content": "Be brief."}


def prompts(history: Any, prompt: Any) -> list[Any]:
    rows = [{"history": history, "prompt": prompt(t), "chosen": t.better, "rejected": t.worse} for t in TRIPLES]
    return [as_messages(pair) for _, pair in read(rows).pairs]


def make_rows(*before: Any) -> list[Any]:
    return [[*before, user(t.question)] for t in TRIPLES]


@pytest.mark.parametrize(
    ("history", "before", "expected"),
    [
        ([user("Hello "), HELLO[1]], HELLO, HELLO),
        ([*HELLO, *AGAIN], AGAIN, [*HELLO, *AGAIN]),
        ([*HELLO, *AGAIN], [AGAIN[1]], [*HELLO, *AGAIN]),
        (HELLO, [SYSTEM, *HELLO], [SYSTEM, *HELLO]),
        ([SYSTEM, *HELLO], HELLO, [SYSTEM, *HELLO]),
        ([SYSTEM, *HELLO], [SYSTEM], [SYSTEM, *HELLO]),
        ([SYSTEM, *HELLO], [SYSTEM, *HELLO], [SYSTEM, *HELLO]),
        ([SYSTEM], [], [SYSTEM]),
    ],
)
def test_what_the_prompt_repeats_of_it_is_there_once(history: Any, before: Any, expected: Any) -> None:
    assert prompts(history, lambda t: [*before, user(t.question)]) == make_rows(*expected)


def test_two_system_turns_that_differ_are_refused() -> None:
    with pytest.raises(DataError, match="the column 'history' and the prompt have system turns that differ"):
        prompts([SYSTEM, *HELLO], lambda t: [{"role": "system", "content": "Be long."}, user(t.question)])


def test_a_prompt_that_ends_with_the_place_of_the_answer_ends_before_it() -> None:
    for empty in (answer(""), answer(" ")):
        rows = [{"prompt": [user(t.question), empty], "chosen": t.better, "rejected": t.worse} for t in TRIPLES]
        assert [as_messages(pair) for _, pair in read(rows).pairs] == make_rows()
    for last in ("", None):
        rows = [
            {"prompt": [["Hello", "What is it?"], [t.question, last]], "chosen": t.better, "rejected": t.worse}
            for t in TRIPLES
        ]
        assert [as_messages(pair) for _, pair in read(rows).pairs] == make_rows(*HELLO)
