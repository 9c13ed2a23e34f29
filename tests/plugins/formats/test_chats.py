"""Other spellings of chat messages, each read as what it means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from prefd.plugins.formats.chats import as_chat
from prefd.plugins.formats.json_cells import decode_row
from prefd.plugins.types import Pair
from support.dataset_rows import answer, user
from support.reading_rows import read

SYSTEM = {"role": "system", "content": "Be brief."}
HELD = [{"text": "Hi"}]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([["system", "Be brief."], ["user", "Hi"]], [SYSTEM, user("Hi")]),
        ([["human", "Hi"], ["ai", "Ho"]], [user("Hi"), answer("Ho")]),
        ([("Human", "Hi")], [user("Hi")]),
        ([{"from": "ai", "value": "Ho"}], [answer("Ho")]),
        ([{"role": "model", "parts": HELD}], [{"role": "assistant", "content": HELD}]),
        ([{"role": "user", "parts": ["Hi"], "content": None}], [{"role": "user", "content": ["Hi"]}]),
        ([["Hi", "Ho"]], [user("Hi"), answer("Ho")]),
        (
            [["user", "Ho"], ["What else?", "Nothing"]],
            [user("user"), answer("Ho"), user("What else?"), answer("Nothing")],
        ),
    ],
)
def test_who_speaks_is_told_from_what_is_said(value: Any, expected: Any) -> None:
    assert as_chat(value) == expected


@pytest.mark.parametrize("write", [lambda value: value, json.dumps])
def test_pairs_of_speaker_and_text_are_a_pair_of_messages(write: Any) -> None:
    row = {"prompt": write([["system", "Be brief."], ["human", "Hi"]]), "chosen": "a", "rejected": "b"}
    assert read([decode_row(row)]).pairs == [(1, Pair([SYSTEM, user("Hi")], "a", "b"))]


def test_geminis_messages_are_read_with_their_parts() -> None:
    def make_message(role: str, *parts: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"role": role, "parts": list(parts)}]

    row = {side: make_message("model", {"text": side}) for side in ("chosen", "rejected")}
    (pair,) = [pair for _, pair in read([row | {"prompt": make_message("user", {"text": "Hi"})}]).pairs]
    assert [
        message["content"] for text in (pair.prompt, pair.chosen) for message in text if not isinstance(message, str)
    ] == [
        [{"type": "text", "text": "Hi"}],
        [{"type": "text", "text": "chosen"}],
    ]
    pictured = read(
        [row | {"prompt": make_message("user", {"text": "Hi"}, {"inline_data": {"mime_type": "image/png"}})}]
    )
    assert pictured.pairs == []
    (reason,) = [str(reason) for _, reason in pictured.unusable]
    assert reason.endswith("prefd trains on text")
