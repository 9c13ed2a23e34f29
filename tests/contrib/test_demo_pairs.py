"""contrib/demo/pairs.jsonl: the pairs that `make demo` trains on."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter

import pytest

from support.contrib_module import CONTRIB

LINES = (CONTRIB / "demo" / "pairs.jsonl").read_bytes().decode("utf-8").splitlines()
PAIRS: list[dict[str, str]] = [json.loads(line) for line in LINES]


def words(text: str) -> int:
    return len(text.split())


def test_there_are_enough_pairs() -> None:
    assert len(PAIRS) >= 72
    assert len({pair["prompt"] for pair in PAIRS}) >= 64


def test_every_pair_is_whole_and_clean(subtests: pytest.Subtests) -> None:
    for pair in PAIRS:
        with subtests.test(pair["prompt"][:40]):
            check_pair(pair)


def check_pair(pair: dict[str, str]) -> None:
    assert list(pair) == ["prompt", "chosen", "rejected"]
    assert pair["chosen"] != pair["rejected"]
    for text in pair.values():
        assert text
        assert text == text.strip()
        assert "  " not in text
        assert all(character.isprintable() for character in text)
        assert unicodedata.is_normalized("NFC", text)
    assert words(pair["chosen"]) <= 60
    assert words(pair["rejected"]) <= 90


def test_no_pair_is_there_twice() -> None:
    assert max(Counter(LINES).values()) == 1
    assert max(Counter(pair["rejected"] for pair in PAIRS).values()) == 1


def test_a_prompt_has_one_chosen_answer_and_some_have_two_rejected() -> None:
    prompts = Counter(pair["prompt"] for pair in PAIRS)
    chosen = {(pair["prompt"], pair["chosen"]) for pair in PAIRS}
    assert len(chosen) == len(prompts) == len({answer for _, answer in chosen})
    assert sum(count == 2 for count in prompts.values()) >= 8
    assert max(prompts.values()) == 2


def test_length_does_not_tell_chosen_from_rejected() -> None:
    longer = sum(words(pair["chosen"]) > words(pair["rejected"]) for pair in PAIRS) / len(PAIRS)
    assert 0.25 < longer < 0.75
