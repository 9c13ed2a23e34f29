"""Texts of several turns: HH-RLHF's are read as turns, those that are marked otherwise are refused."""

from __future__ import annotations

import pytest

from prefd.daemon.worker.data.rows import DataError
from prefd.plugins.types import Pair
from support.dataset_rows import Row, answer, user
from support.reading_rows import read


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({side: f"System: S\n\nHuman: H\n\nAssistant: {side}" for side in ("chosen", "rejected")}, "'System:'"),
        ({side: f"User: Q\n\nAssistant: {side}" for side in ("chosen", "rejected")}, "'User:'"),
        ({side: f"\n\nUser: Q\nBot: {side}" for side in ("chosen", "rejected")}, "'User:'"),
        ({"prompt": "User: Q\n\nAssistant: a\n\nUser: Q2\n\nAssistant:", "chosen": "a", "rejected": "b"}, "'User:'"),
        ({"prompt": "Human: Q\n\nAI:", "chosen": "a", "rejected": "b"}, "'Human:'"),
        ({"prompt": "\n\nHuman: Q\n\nAI:", "chosen": "a", "rejected": "b"}, "answers begin with 'AI:'"),
        ({"prompt": "Human: a word meaning person. Define it.", "chosen": "a", "rejected": "b"}, "'Human:'"),
        (
            {"prompt": "Q", "chosen": "\n\nHuman: Q\n\nAssistant: a", "rejected": "\n\nHuman: Q\n\nAssistant: b"},
            "both sides are transcripts that hold the prompt; leave its column out (data.ignore_columns: [prompt])",
        ),
    ],
)
def test_turns_that_are_marked_otherwise_are_refused(row: Row, says: str) -> None:
    with pytest.raises(DataError) as caught:
        read([row])
    assert says in str(caught.value)


@pytest.mark.parametrize("head", ["\n\nHuman: Q\n\nAssistant:", "Human: Q\n\nAssistant:", "\n\nHuman: Q"])
def test_a_transcript_is_read_as_turns(head: str) -> None:
    rows: list[Row] = [{"prompt": head, "chosen": " a", "rejected": " b"}]
    assert read(rows).pairs == [(1, Pair([user("Q")], [answer("a")], [answer("b")]))]


@pytest.mark.parametrize("prompt", ["Users: how many?", "What does 'Human: hi' mean?", "Write a play.\nUser: hi\nBot:"])
def test_a_text_that_only_speaks_of_speakers_is_one_users(prompt: str) -> None:
    assert read([{"prompt": prompt, "chosen": "a", "rejected": "b"}]).pairs == [(1, Pair(prompt, "a", "b"))]


def test_a_column_left_out_lets_transcripts_be_read() -> None:
    sides = {side: f"\n\nHuman: Q\n\nAssistant: {side}" for side in ("chosen", "rejected")}
    dataset = read([{"prompt": "Q", **sides}], ignore_columns=["prompt"])
    assert dataset.pairs == [(1, Pair([user("Q")], [answer("chosen")], [answer("rejected")]))]
