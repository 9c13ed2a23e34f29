"""What a message says beside its role and content is heard, or the row is refused."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from prefd.plugins.formats.chats import as_chat
from prefd.plugins.formats.messages import uniform_message
from prefd.plugins.types import UnusableRow
from support.dataset_rows import answer, user


def reason(message: dict[str, Any]) -> str:
    with pytest.raises(UnusableRow) as refused:
        uniform_message(message)
    return str(refused.value)


@pytest.mark.parametrize("key", ["train", "training", "trainable", "loss", "learn"])
def test_what_others_call_the_weight_is_it(key: str) -> None:
    assert uniform_message(answer("x") | {key: False}) == answer("x") | {"weight": 0}
    assert uniform_message(answer("x") | {key: True}) == answer("x") | {"weight": 1}
    assert uniform_message(answer("x") | {key: False, "weight": 0}) == answer("x") | {"weight": 0}
    assert "disagree on whether it is learned" in reason(answer("x") | {key: False, "weight": 1})
    assert "weight" not in uniform_message(user("x") | {key: False})
    assert "weight" not in uniform_message(answer("x") | {key: 0.25})  # a number is what somebody measured


def test_a_mask_that_may_mean_either_is_refused() -> None:
    assert reason(answer("x") | {"mask": True}) == (
        "a message's 'mask' may say that it is not learned: write 'weight', 0 or 1, in its place"
    )


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("images", ["a.png"], "an image"),
        ("image_url", "http://x/a.png", "an image"),
        ("audio", {"id": "a"}, "audio"),
        ("videos", ["a.mp4"], "a video"),
        ("files", ["a.pdf"], "a file"),
    ],
)
def test_what_is_no_text_beside_the_content_is_refused(key: str, value: Any, words: str) -> None:
    assert reason(user("What is it?") | {key: value}) == f"{words} in a message's {key!r}; prefd trains on text"
    assert uniform_message(user("What is it?") | {key: None}) == user("What is it?")
    assert uniform_message(user("What is it?") | {key: []})["content"] == "What is it?"


@pytest.mark.parametrize("key", ["tools", "functions"])
def test_tools_in_a_message_are_refused(key: str) -> None:
    assert reason(user("x") | {key: [{"name": "w"}]}).endswith("put them into a column 'tools'")


def test_sharegpts_messages_keep_what_else_they_say() -> None:
    message = {"from": "gpt", "value": "x", "weight": 0}
    assert as_chat([message]) == [answer("x") | {"weight": 0}]


class TestCalls:
    CALL: ClassVar = {"name": "w", "arguments": '{"a": 1}'}

    def test_an_old_call_as_json_text_is_one(self) -> None:
        message = {"role": "assistant", "content": None, "function_call": '{"name": "w", "arguments": "{\\"a\\": 1}"}'}
        calls = [{"type": "function", "function": {"name": "w", "arguments": {"a": 1}}}]
        assert uniform_message(message)["tool_calls"] == calls

    def test_an_old_call_beside_others_repeats_one_or_is_refused(self) -> None:
        message = answer("") | {"function_call": self.CALL, "tool_calls": [{"id": "x", "function": self.CALL}]}
        assert len(uniform_message(message)["tool_calls"]) == 1
        assert "has both a function_call and tool_calls" in reason(
            message | {"function_call": {**self.CALL, "name": "other"}}
        )

    def test_a_key_twice_is_never_settled_by_the_last(self) -> None:
        message = answer("") | {"tool_calls": [{"function": {"name": "w", "arguments": '{"a": 1, "a": 2}'}}]}
        assert reason(message) == "in the arguments of a tool call the key 'a' is there twice"
