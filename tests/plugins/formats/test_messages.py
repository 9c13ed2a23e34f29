"""Messages and tools as rows bring them, made what mlx_lm.server would make of them."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest

from prefd.plugins.formats.fields import finish, read_text
from prefd.plugins.formats.json_cells import decode_row
from prefd.plugins.formats.messages import uniform_message
from prefd.plugins.types import UnusableRow


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def answer(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def call(arguments: Any, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "w", "arguments": arguments, **more}}


def reason(message: dict[str, Any]) -> str:
    with pytest.raises(UnusableRow) as caught:
        uniform_message(message)
    return str(caught.value)


class TestContents:
    def test_text_parts_of_every_spelling_are_text_parts(self) -> None:
        parts = [
            {"type": "text", "text": "a", "image_url": None},
            "b",
            {"text": "c"},
            {"type": "input_text", "text": ""},
        ]
        assert uniform_message(user(parts))["content"] == [
            {"type": "text", "text": text} for text in ("a", "b", "c", "")
        ]

    @pytest.mark.parametrize(
        ("part", "expected"),
        [
            ({"type": "image"}, "an image; prefd trains on text"),
            ({"type": "image_url", "image_url": {"url": "x"}}, "an image; prefd trains on text"),
            ({"image": "a.png"}, "an image; prefd trains on text"),
            ({"type": "input_audio", "input_audio": {}}, "audio; prefd trains on text"),
            ({"type": "video", "text": None}, "a video; prefd trains on text"),
            ({"type": "refusal", "refusal": None}, "a part of type 'refusal'; prefd trains on text"),
            ({"text": "what is it", "image": "a.png"}, "an image; prefd trains on text"),
            ({"type": "text", "text": "a", "image_url": {"url": "x"}}, "an image; prefd trains on text"),
            ({"type": "input_text", "text": "a", "input_audio": {"data": "x"}}, "audio; prefd trains on text"),
            ({"type": "text", "text": "a", "images": ["a.png"]}, "an image; prefd trains on text"),
            ({"text": "a", "media_url": "x"}, "a part with 'media_url'; prefd trains on text"),
            ({"type": "text", "text": None}, "a text part without text"),
        ],
    )
    def test_other_parts_are_refused_by_name(self, part: dict[str, Any], expected: str) -> None:
        assert reason(user([{"type": "text", "text": "What is it?"}, part])) == expected

    def test_what_pads_a_text_part_is_no_medium(self) -> None:
        padded = {"type": "text", "text": "a", "image_url": {"url": None}, "images": [], "file_id": "", "profile": "x"}
        assert uniform_message(user([padded]))["content"] == [{"type": "text", "text": "a"}]

    def test_a_refusal_is_text(self) -> None:
        part = {"type": "refusal", "refusal": "I cannot.", "text": None}
        assert uniform_message(answer([part]))["content"] == [{"type": "text", "text": "I cannot."}]

    @pytest.mark.parametrize("arguments", [{"arguments": None}, {}, {"arguments": ""}, {"arguments": "null"}])
    def test_a_call_without_arguments_has_none(self, arguments: dict[str, Any]) -> None:
        for tool_call in ({"type": "function", "function": {"name": "w", **arguments}}, {"name": "w", **arguments}):
            (uniform_call,) = uniform_message(answer(None, tool_calls=[{"id": "x", **tool_call}]))["tool_calls"]
            assert uniform_call.get("function", uniform_call)["arguments"] == {}

    def test_arguments_that_were_encoded_twice_are_what_they_were_at_first(self) -> None:
        twice = json.dumps(json.dumps({"city": "Rome"}))
        (uniform_call,) = uniform_message(answer(None, tool_calls=[call(twice)]))["tool_calls"]
        assert uniform_call == call({"city": "Rome"})
        (uniform_call,) = uniform_message(answer(None, tool_calls=[call('"Rome"')]))["tool_calls"]
        assert uniform_call == call("Rome")

    @pytest.mark.parametrize("arguments", ['{"x": NaN}', '{"x": -Infinity}', json.dumps('{"x": NaN}')])
    def test_arguments_that_are_no_json_are_refused(self, arguments: str) -> None:
        refused = reason(answer(None, tool_calls=[call(arguments)]))
        assert refused == "the arguments of a tool call are text that is not JSON"

    def test_a_call_that_says_its_arguments_elsewhere_is_not_said_to_have_none(self) -> None:
        tool_call = {"type": "function", "function": {"name": "w", "parameters": {"city": "Rome"}}}
        assert uniform_message(answer(None, tool_calls=[tool_call]))["tool_calls"] == [tool_call]

    def test_parts_as_json_text_are_parts_and_as_pythons_repr_refused(self) -> None:
        parts = [{"type": "text", "text": "Hi"}]
        assert uniform_message(user(json.dumps(parts))) == user(parts)
        assert reason(user(str(parts))).startswith("Python's repr of messages; write JSON")
        for prose in ("[1]", '[{"type": "circle"}]', "[x]", "[]", "[{'type': 'circle'}]"):
            assert uniform_message(user(prose)) == user(prose)

    @pytest.mark.parametrize("role", ["user", "system", "tool", "assistant"])
    def test_a_message_without_content_is_refused(self, role: str) -> None:
        article = "an" if role == "assistant" else "a"
        assert reason({"role": role, "content": None}) == f"{article} {role} message without content"
        assert reason({"role": role}) == f"{article} {role} message without content"
        assert uniform_message({"role": role, "content": ""}) == {"role": role, "content": ""}

    def test_a_call_or_reasoning_stands_for_content(self) -> None:
        assert uniform_message(answer(None, tool_calls=[call({})]))["content"] == ""
        assert uniform_message(answer(None, reasoning_content="why"))["content"] == ""
        assert reason(answer(None, tool_calls=[])) == "an assistant message without content"

    @pytest.mark.parametrize("role", ["Human", "Assistant", "gpt", "bot", "USER"])
    def test_a_role_that_is_none_is_refused(self, role: str) -> None:
        expected = f"role {role!r} is not one of system, user, assistant, tool: rename it"
        assert reason({"role": role, "content": "Hi"}) == expected

    @pytest.mark.parametrize("role", ["developer", "function", "ipython", "environment"])
    def test_rarer_roles_are_the_templates_to_show(self, role: str) -> None:
        assert uniform_message({"role": role, "content": "Hi", "name": None}) == {"role": role, "content": "Hi"}

    @pytest.mark.parametrize(
        ("messages", "expected"),
        [
            ([{"from": "human", "value": "Hi"}], "messages need role and content; these have from, value"),
            ([user("Hi"), {"role": 3, "content": "a"}], "a message's role is a number"),
            ([user({"a": 1})], "the content of 'user' is an object, not text"),
        ],
    )
    def test_what_keeps_a_list_from_being_messages_is_told(self, messages: Any, expected: str) -> None:
        with pytest.raises(UnusableRow) as caught:
            read_text({"chosen": messages}, "chosen")
        assert str(caught.value) == f"wrong types: {expected}"


class TestCalls:
    @pytest.mark.parametrize(
        ("call_arguments", "expected"),
        [
            ('{"city": "Rome"}', {"city": "Rome"}),
            ({"city": "Rome", "unit": None}, {"city": "Rome", "unit": None}),
            ('{"unit": null}', {"unit": None}),
            ("", {}),
            ("[1]", [1]),
        ],
    )
    def test_arguments_are_what_their_text_says_and_keep_their_nulls(self, call_arguments: Any, expected: Any) -> None:
        message = uniform_message(answer(None, tool_calls=[call(call_arguments, index=None) | {"id": None}]))
        assert message["tool_calls"] == [call(expected)]
        flat = uniform_message(answer(None, tool_calls=[{"name": "w", "arguments": call_arguments}]))
        assert flat["tool_calls"] == [{"name": "w", "arguments": expected}]

    def test_arguments_that_are_not_json_are_refused(self) -> None:
        expected = "the arguments of a tool call are text that is not JSON"
        assert reason(answer(None, tool_calls=[call('{"city": Rome}')])) == expected

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
    @pytest.mark.parametrize("inside", ['{{"x": {}}}', '{{"x": [1, {{"y": {}}}]}}'])
    def test_numbers_that_json_has_not_are_refused_in_objects_too(self, number: str, inside: str) -> None:
        text = inside.format(number)
        expected = "a number that JSON has not (NaN, Infinity, or one as large as 1e400)"
        assert reason(answer(None, tool_calls=[call(json.loads(text))])) == f"a tool call holds {expected}"
        if number == "1e400":
            assert reason(answer(None, tool_calls=[call(text)])) == f"a tool call holds {expected}"
        tool = {"name": "w", "parameters": json.loads(text)}
        for tools in ([tool], json.dumps([tool])):
            with pytest.raises(UnusableRow) as caught:
                finish({"tools": tools}, "q", "a", "b")
            assert str(caught.value) == f"a tool holds {expected}"

    def test_calls_as_json_text_and_the_old_single_call_are_calls(self) -> None:
        expected = [call({"a": 1})]
        assert uniform_message(answer(None, tool_calls=json.dumps([call('{"a": 1}')])))["tool_calls"] == expected
        assert uniform_message(answer("", tool_calls=[json.dumps(call({"a": 1}))]))["tool_calls"] == expected
        old = uniform_message(answer(None, function_call={"name": "w", "arguments": '{"a": 1}'}))
        assert old == answer("", tool_calls=expected)

    def test_the_row_itself_is_left_alone(self) -> None:
        message = answer(None, tool_calls=[call('{"a": 1}')])
        before = json.dumps(message)
        uniform_message(message)
        assert json.dumps(message) == before


class TestTools:
    SCHEMA: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {"unit": {"default": None, "enum": ["c", None]}},
    }

    @pytest.mark.parametrize("written", [list, json.dumps, lambda tools: [json.dumps(tool) for tool in tools]])
    def test_nulls_of_a_schema_survive_and_padding_does_not(self, written: Any) -> None:
        tool = {
            "type": "function",
            "strict": None,
            "function": {"name": "w", "description": None, "parameters": self.SCHEMA},
        }
        pair = finish({"tools": written([tool])}, "q", "a", "b")
        assert pair.tools == [{"type": "function", "function": {"name": "w", "parameters": self.SCHEMA}}]

    def test_template_arguments_keep_inner_nulls(self) -> None:
        row = {"chat_template_kwargs": {"a": None, "b": {"c": None}}}
        assert finish(row, "q", "a", "b").chat_template_kwargs == {"b": {"c": None}}


class TestText:
    CHAT = (user("Hi"), answer("Hello"))

    def test_json_text_of_messages_is_messages_in_every_column(self) -> None:
        row = decode_row({"chosen": json.dumps(self.CHAT, indent=1), "rejected": "b", "n": 1, "meta": '{"a": 1}'})
        assert row == {"chosen": list(self.CHAT), "rejected": "b", "n": 1, "meta": '{"a": 1}'}
        assert read_text({"chosen": json.dumps(self.CHAT)}, "chosen") == list(self.CHAT)

    def test_messages_each_as_json_text_are_messages(self) -> None:
        assert decode_row({"chosen": [json.dumps(message) for message in self.CHAT]}) == {"chosen": list(self.CHAT)}
        assert decode_row({"tags": ["a", '{"a": 1}']}) == {"tags": ["a", '{"a": 1}']}

    def test_json_of_messages_without_roles_is_refused(self) -> None:
        with pytest.raises(UnusableRow, match="JSON of messages of which not all have a role"):
            read_text({"chosen": '[{"content": "Hi"}, {"role": "assistant", "content": "a"}]'}, "chosen")

    def test_one_message_alone_is_a_list_of_it(self) -> None:
        assert decode_row({"a": answer("x"), "b": json.dumps(answer("x"))}) == {"a": [answer("x")], "b": [answer("x")]}

    @pytest.mark.parametrize(
        "text",
        [
            str(list(CHAT)),
            str(answer("x")),
            "[{'content': 'Hi', 'role': 'user'}]",
            "[{'from': 'human', 'value': 'Hi'}]",
            "array([{'role': 'user', 'content': 'Hi'}], dtype=object)",
            "{'content': 'Hi',\n 'role': 'user'}",
            "[HumanMessage(content='Hi')]",
        ],
    )
    def test_pythons_repr_of_messages_is_refused_with_the_remedy(self, text: str) -> None:
        expected = (
            "Python's repr of messages; write JSON (json.dumps, or DataFrame.to_json(orient='records', lines=True))"
        )
        with pytest.raises(UnusableRow) as caught:
            read_text({"chosen": text}, "chosen")
        assert str(caught.value) == expected
        with pytest.raises(UnusableRow, match="Python's repr"):
            finish({}, "q", text, "b")

    def test_json_that_breaks_off_is_refused(self) -> None:
        with pytest.raises(UnusableRow, match="begins as the JSON of messages and is not"):
            read_text({"chosen": json.dumps(self.CHAT)[:-5]}, "chosen")

    @pytest.mark.parametrize(
        "prose",
        [
            "[1, 2]",
            "{'a': 1}",
            "{'value': 3}",
            '{"value": 3}',
            '[{"value": 3}]',
            '{"role": "admin"}',
            '{"name": "x"}',
            "a {'role': 'b'}",
            "[{'id': 3}]",
            "",
            "{",
        ],
    )
    def test_other_text_is_prose(self, prose: str) -> None:
        assert read_text({"chosen": prose}, "chosen") == prose


class TestPartsAsText:
    IMAGE: ClassVar = {"type": "image"}

    def test_json_text_of_parts_is_parts_whatever_their_type(self) -> None:
        message = user(json.dumps([{"type": "input_text", "text": "Hi"}]))
        assert uniform_message(message) == user([{"type": "text", "text": "Hi"}])
        assert (
            reason(user(json.dumps([self.IMAGE, {"type": "text", "text": "Hi"}]))) == "an image; prefd trains on text"
        )
        assert reason(user(str([self.IMAGE]))).startswith("Python's repr of messages")
        assert reason(user(str([{"text": "Hi", "type": "text"}]))).startswith("Python's repr of messages")

    def test_so_it_is_where_the_whole_prompt_is_that_text(self) -> None:
        assert (
            read_text(
                {"prompt": json.dumps([{"type": "text", "text": "Hi"}, {"type": "text", "text": " you"}])}, "prompt"
            )
            == "Hi you"
        )
        with pytest.raises(UnusableRow, match="an image; prefd trains on text"):
            read_text({"prompt": json.dumps([self.IMAGE, {"type": "text", "text": "Hi"}])}, "prompt")
        assert read_text({"prompt": '[{"type": "circle"}]'}, "prompt") == '[{"type": "circle"}]'
