"""Makes chat messages and tools uniform, as `mlx_lm.server` does before a template sees them: trained as served.

Parquet and hub datasets pad every message and tool to one struct, with None for each key that a row lacks. Such keys are
dropped from messages, parts, calls and tools themselves; never from a call's arguments or a tool's JSON schema, where
null is a value (`nulls.py`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prefd.plugins.formats.message_keys import check_no_media, check_no_tools, with_weight
from prefd.plugins.types import Message, UnusableRow

ROLES = ("system", "user", "assistant", "tool")
OLD_AND_RARE_ROLES = ("developer", "function", "ipython", "environment")
"""Taken where the chat template shows them."""
TEXT_PARTS = (None, "text", "input_text", "output_text")
NO_JSON = "a number that JSON has not (NaN, Infinity, or one as large as 1e400)"
NO_ARGUMENTS = {"id", "type", "index", "name", "function", "arguments"}
"""The keys of a call that says none: with another it may say them there."""
MEDIA = {"image": "an image", "audio": "audio", "video": "a video", "file": "a file", "document": "a document"}
AS_JSON = re.compile(r"""\s*(\[\s*)?\{\s*"\w+"\s*:""")
AS_MESSAGES = re.compile(
    r"""\s*(\[\s*\{([^{}\[\]]*,)?\s*"(role|content|from)"\s*:|\{([^{}\[\]]*,)?\s*"role"\s*:\s*"(system|user|assistant)")"""
)
AS_REPR = re.compile(
    r"""\s*(array\()?(\[\s*\{([^{}\[\]]*,)?\s*'(role|content|from|value)'\s*:|\{([^{}\[\]]*,)?\s*'(role|content)'\s*:.*'(role|content)'\s*:"""
    r"""|\[?\w*Message\w*\(\w+=|\[?OrderedDict\()""",
    re.DOTALL,
)
PARTS = (
    "text",
    "input_text",
    "output_text",
    "image",
    "image_url",
    "input_image",
    "audio",
    "input_audio",
    "video",
    "file",
    "refusal",
)
"""The types of parts, by which JSON text of some is known."""
PARTS_AS_REPR = re.compile(rf"""\s*\[\s*\{{[^{{}}]*'type'\s*:\s*'({"|".join(PARTS)})'""")
REPR = "Python's repr of messages; write JSON (json.dumps, or DataFrame.to_json(orient='records', lines=True))"


def decode_messages(value: Any) -> Any:
    """Decodes the JSON text of messages, as a whole or one by one; any other `value` stays as it is."""
    value = _decoded_twice(value)
    decoded = _decoded(value) if isinstance(value, str) and AS_JSON.match(value) else value
    is_one = isinstance(decoded, Mapping) and not decoded.keys().isdisjoint(("content", "tool_calls", "value"))
    messages = [decoded] if is_one else decoded
    if (
        isinstance(messages, list)
        and messages
        and all(isinstance(item, str) and AS_JSON.match(item) for item in messages)
    ):
        messages = [_decoded(item) for item in messages]
    if isinstance(decoded, Mapping) and _look_like_messages(decoded.get("messages")):
        return decoded  # OpenAI's `input`: messages, and tools beside them
    return messages if _look_like_messages(messages) else value


def _decoded_twice(value: Any) -> Any:
    """`value`, or the JSON text that it is the JSON text of: messages that were encoded twice."""
    if not isinstance(value, str) or not value.lstrip("\ufeff \t\r\n").startswith(('"[{', '"{', "{", "[")):
        return value
    text = value.lstrip("\ufeff \t\r\n")
    decoded = _decoded(text) if text.startswith('"') else text
    return decoded if isinstance(decoded, str) and AS_MESSAGES.match(decoded) else value


def _look_like_messages(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(item, Mapping) and (isinstance(item.get("role"), str) or {"from", "value"} <= item.keys())
            for item in value
        )
    )


def check_prose(text: str) -> None:
    """Raises `UnusableRow` for messages that were written as text and cannot be read for certain."""
    if AS_REPR.match(text):
        raise UnusableRow(REPR)
    if not AS_MESSAGES.match(text):
        return
    try:
        decoded = parse_json(text)
    except UnusableRow as reason:
        raise UnusableRow(f"JSON of messages, in which {reason}") from None
    except (ValueError, RecursionError):
        raise UnusableRow(
            "text that begins as the JSON of messages and is not; write messages, or whole JSON"
        ) from None
    if isinstance(decoded, list) and all(isinstance(item, Mapping) and "content" in item for item in decoded):
        raise UnusableRow("JSON of messages of which not all have a role")


def check_role(role: str) -> None:
    """Raises `UnusableRow` for a role that no chat template knows."""
    if role not in (*ROLES, *OLD_AND_RARE_ROLES):
        raise UnusableRow(f"role {role!r} is not one of {', '.join(ROLES)}: rename it")


def uniform_message(message: Message) -> Message:
    """Makes what templates look at in a message uniform. Raises `UnusableRow` for one that cannot be trained on."""
    uniform = _without_padding(message)
    role = uniform["role"]
    check_role(role)
    check_no_media(uniform)
    check_no_tools(uniform)
    uniform = with_weight(uniform)
    old_call, calls = _decoded(uniform.pop("function_call", None)), _decoded(uniform.pop("tool_calls", None))
    if old_call:  # OpenAI's, before there were several
        old_calls = _uniform_calls([{"type": "function", "function": old_call}])
        if calls and [_function_of(call) for call in _uniform_calls(calls)] != [_function_of(old_calls[0])]:
            raise UnusableRow("a message has both a function_call and tool_calls, and they differ")
        calls = calls or old_calls
    if calls:
        uniform["tool_calls"] = _uniform_calls(calls)
    content = _decoded_parts(uniform.get("content"))
    if isinstance(content, list | tuple):
        content = [_text_part(part) for part in content]
    if content is None and not any(uniform.get(key) for key in ("tool_calls", "reasoning_content", "thinking")):
        raise UnusableRow(f"{_article(role)} {role} message without content")
    return {**uniform, "content": content or ""}


def uniform_tools(tools: Sequence[Any]) -> list[Mapping[str, Any]]:
    """Gives tools as objects, also where one is JSON text. Raises `UnusableRow`."""
    decoded = [_decoded(tool) for tool in tools]
    if not all(isinstance(tool, Mapping) for tool in decoded):
        raise UnusableRow("wrong types: tools is not a list of objects")
    uniform: list[Mapping[str, Any]] = [_with_function(tool) for tool in decoded]
    if not all(map(_is_json, uniform)):
        raise UnusableRow(f"a tool holds {NO_JSON}")
    return uniform


def _uniform_calls(calls: Any) -> list[Mapping[str, Any]]:
    calls = [_decoded(call) for call in (calls if isinstance(calls, list | tuple) else [calls])]
    if not all(isinstance(call, Mapping) for call in calls):
        raise UnusableRow("wrong types: tool_calls is not a list of objects")
    uniform: list[Mapping[str, Any]] = [_with_arguments(_with_function(call)) for call in calls]
    if not all(map(_is_json, uniform)):
        raise UnusableRow(f"a tool call holds {NO_JSON}")
    return uniform


def _function_of(call: Mapping[str, Any]) -> Any:
    return call.get("function", call)


def _with_function(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool or a call, without what parquet pads it with."""
    uniform = _without_padding(tool)
    if isinstance(uniform.get("function"), Mapping):
        uniform["function"] = _without_padding(uniform["function"])
    return uniform


def _with_arguments(call: dict[str, Any]) -> Mapping[str, Any]:
    """`call` with arguments that are an object, as a template needs them; OpenAI's are the JSON text of one."""
    if isinstance(call.get("function"), Mapping):
        return call | {"function": _with_arguments(dict(call["function"]))}
    arguments = call.get("arguments")
    if arguments is None and call.keys() <= NO_ARGUMENTS:
        return call | {"arguments": {}}
    if not isinstance(arguments, str):
        return call
    try:
        decoded = parse_json(arguments or "{}", _no_number)
        if isinstance(decoded, str) and decoded.lstrip().startswith("{"):  # encoded twice
            decoded = parse_json(decoded, _no_number)
        return call | {"arguments": {} if decoded is None else decoded}
    except UnusableRow as reason:
        raise UnusableRow(f"in the arguments of a tool call {reason}") from None
    except (ValueError, RecursionError):
        raise UnusableRow("the arguments of a tool call are text that is not JSON") from None


def _is_json(value: Any) -> bool:
    """Says whether no number in `value` is one that JSON cannot say; those that Python reads would be written out by templates."""
    if isinstance(value, Mapping):
        return all(map(_is_json, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_json, value))
    return not isinstance(value, float) or math.isfinite(value)


def parse_json(text: str, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """Parses JSON. Raises `UnusableRow` for an object with a key twice, of which Python keeps the last, and ValueError."""
    return json.loads(text, object_pairs_hook=make_object, parse_constant=parse_constant)


class TwiceTheKey(UnusableRow):
    """TwiceTheKey is an object with one key twice, of which Python's json keeps the last without a word."""


def make_object(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes an object of its keys and values, as a decoder of JSON has them. Raises `TwiceTheKey`."""
    value = dict(items)
    if len(value) < len(items):
        keys = [key for key, _ in items]
        raise TwiceTheKey(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return value


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def text_of_parts(text: str) -> str:
    """Joins the parts that `text` is the JSON text of; any other text stays as it is. Raises `UnusableRow` for other media."""
    parts = _decoded_parts(text)
    return "".join(str(_text_part(part)["text"]) for part in parts) if isinstance(parts, list) else text


def _decoded_parts(content: Any) -> Any:
    """`content`, or the text parts that it is the JSON text of. Raises `UnusableRow` for Python's repr of them."""
    if not isinstance(content, str) or not content.lstrip().startswith("["):
        return content
    if PARTS_AS_REPR.match(content):
        raise UnusableRow(REPR)
    parts = _decoded(content)
    are_parts = isinstance(parts, list) and all(
        isinstance(item, Mapping) and item.get("type") in PARTS for item in parts
    )
    return parts if are_parts and parts else content


def _text_part(part: Any) -> Mapping[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    part = _without_padding(part)
    kind = part.get("type")
    if kind == "refusal" and isinstance(part.get("refusal"), str) and not part.get("text"):
        part = {**part, "type": "text", "text": part["refusal"]}
        kind = "text"
    if kind in TEXT_PARTS and isinstance(part.get("text"), str):
        if medium := next(filter(None, map(_medium, part.items())), None):
            raise UnusableRow(f"{medium}; prefd trains on text")
        return {"type": "text", "text": part["text"]}
    if kind in ("text", "input_text", "output_text"):
        raise UnusableRow("a text part without text")
    words = " ".join(map(str, (kind, *part)))
    medium = next((name for key, name in MEDIA.items() if key in words), f"a part of type {kind!r}")
    raise UnusableRow(f"{medium}; prefd trains on text")


def _medium(item: tuple[str, Any]) -> str | None:
    """Says what a key of a text part brings beside the text, in words; None for text and for the padding of a struct."""
    key, value = item
    if isinstance(value, Mapping):
        value = _without_padding(value)
    words = key.lower().split("_")
    medium_name = next((name for medium, name in MEDIA.items() if {medium, f"{medium}s"} & {*words}), None)
    return None if not value else medium_name or (f"a part with {key!r}" if words[-1] == "url" else None)


def _without_padding(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if item is not None}


def _decoded(value: Any) -> Any:
    """`value`, or what it is the JSON text of."""
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value)
    except (ValueError, RecursionError):
        return value


def _article(role: str) -> str:
    return "an" if role[0] in "ai" else "a"
