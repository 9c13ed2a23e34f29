"""What is worth a look in a pair, and which pair is the worst."""

from __future__ import annotations

import numpy as np
import pytest

from prefd.daemon.worker.data.remarks import find_remarks, rank
from prefd.daemon.worker.data.tokens import Completion, Example

PROMPT = [1, 50, 51]
EOS = 2
SPECIAL = frozenset([1, EOS])


def side(answer: list[int], cut: int = 0, apart: bool = False) -> Completion:
    return Completion(np.array([*PROMPT, *answer], np.uint32), len(PROMPT), cut, apart)


def describe_pair(chosen: Completion, rejected: Completion) -> list[str]:
    return [remark.text for remark in find_remarks(Example(1, chosen, rejected), SPECIAL, 64)]


PLAIN = side([10, 11, EOS])


def test_an_ordinary_pair_has_none() -> None:
    assert describe_pair(PLAIN, side([20, EOS])) == []


@pytest.mark.parametrize(("cut", "words"), [(1, "1 token"), (1739, "1,739 tokens")])
def test_a_cut_answer(cut: int, words: str) -> None:
    expected = f"rejected is cut at max_length 64: {words} left out, its end-of-turn token among them"
    assert describe_pair(PLAIN, side([20, 21], cut=cut)) == [expected]


def test_an_answer_set_apart() -> None:
    expected = "chosen is tokenized apart from the prompt: as one text, the two would merge or change"
    assert describe_pair(side([10, EOS], apart=True), PLAIN) == [expected]


def test_an_answer_of_more_than_one_turn_and_not_for_the_token_that_ends_it() -> None:
    assert describe_pair(PLAIN, side([20, EOS, 1, 21, EOS])) == [
        "rejected has special tokens before its end: more than one turn?"
    ]


def test_turns_that_were_told_apart_are_not_asked_about() -> None:
    turns = side([20, EOS, 1, 21, EOS])
    completion = Completion(turns.ids, turns.start, own_mask=np.array([True, True, False, True, True]))
    assert describe_pair(PLAIN, completion) == []


def test_answers_that_hardly_differ() -> None:
    words = list(range(10, 27))
    assert describe_pair(side([*words, EOS]), side([*words[:8], 99, *words[9:], EOS])) == [
        "the answers differ in 1 of 18 tokens"
    ]


def test_an_answer_that_goes_on_from_the_other() -> None:
    words = list(range(10, 27))
    assert describe_pair(side([*words, EOS]), side([*words, 5, 6, EOS])) == ["the answers differ in 2 of 20 tokens"]


def test_short_answers_may_be_alike() -> None:
    assert describe_pair(side([10, 11, 12, 13, EOS]), side([10, 11, 12, 14, EOS])) == []


def test_an_answer_many_times_as_long_as_the_other() -> None:
    long = side([*range(100, 190), EOS])
    assert describe_pair(PLAIN, long) == ["rejected is 30 times as long as the other answer"]
    assert describe_pair(long, PLAIN) == ["chosen is 30 times as long as the other answer"]


def test_the_worst_is_cut_then_apart_then_of_several_turns_then_alike_then_long() -> None:
    words = list(range(10, 27))
    ordered = [
        Example(1, side([20, 21], cut=9), PLAIN),
        Example(2, side([20, 21], cut=3), PLAIN),
        Example(3, side([20, EOS], apart=True), PLAIN),
        Example(4, side([20, EOS, 1, EOS]), PLAIN),
        Example(5, side([*words, EOS]), side([*words, 5, EOS])),
        Example(6, PLAIN, side([*range(100, 190), EOS])),
        Example(7, side([*words, EOS]), side([30, EOS])),
        Example(8, side([30, EOS]), side([31, EOS])),
    ]
    shuffled = [ordered[index] for index in (3, 7, 1, 6, 0, 4, 2, 5)]
    worst = sorted(shuffled, key=lambda one: rank(one, SPECIAL, 64), reverse=True)
    assert [example.row for example in worst] == [1, 2, 3, 4, 5, 6, 7, 8]
