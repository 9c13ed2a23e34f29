"""Finds the prompt of a row, whatever its column is called, and the turns before it: a system column, a history.

A name is not taken for certain where two columns may be the prompt and say different things: then the row is unclear,
and the message has the setting that says which it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from prefd.plugins.formats.chats import as_chat, squeeze_blanks, user_texts
from prefd.plugins.formats.fields import content_text, is_messages, is_text, kind_of
from prefd.plugins.formats.messages import check_prose, text_of_parts, uniform_message
from prefd.plugins.formats.metadata import METADATA
from prefd.plugins.formats.names import CHATS, PROMPTS, SYSTEMS, key_of, words_of
from prefd.plugins.formats.nulls import without_unsure
from prefd.plugins.formats.turns import check_no_list
from prefd.plugins.types import Message, Text, UnclearRow, UnusableRow

INSIDE = ("full_text", "text")
"""Keys of an object that holds the prompt with data about it, as WebGPT's `question`."""
LEAST = 12
"""Characters that two columns must share to say that one repeats the other, where they are not equal."""


SAID = PROMPTS | CHATS | {"turn", "turns", "content", "body", "task", "title"}
"""Last words of names of what somebody said: `source_text` is no source."""


REASONS = ("reasoning_content", "thinking", "reasoning")
"""Keys of what a message says beside its content."""


class Prompt(NamedTuple):
    """Prompt holds the prompt of a row and the columns it was read from. `text` is None where no column is the prompt."""

    text: Any
    columns: frozenset[str] = frozenset()


def find_prompt(row: Mapping[str, Any], used_columns: frozenset[str], answers: Sequence[Any] = ()) -> Prompt:
    """Finds the prompt among the columns that are not `taken`. Raises `UnclearRow` where several may be it.

    `answers`: where a conversation ends with one of them, the prompt is what comes before it.
    """
    value = None if "prompt" in used_columns else _opened(row.get("prompt"))
    if not is_blank(value):
        _check_alone("prompt", row["prompt"])
        return Prompt(_without_answer(value, answers) if answers else value, frozenset(["prompt"]))
    names = {column: key for column, key in _prompt_columns(tuple(sorted(row))) if column not in used_columns}
    all_values = {column: _opened(row[column]) for column in names}
    values = {column: value for column, value in all_values.items() if not is_blank(value)}
    if len(values) > 1:
        values = {
            column: value
            for column, value in values.items()
            if names[column] != "history" or not isinstance(value, list | tuple)
        }
    if not values:  # a text that is blank is still the prompt: not what the sides begin with
        blank_columns = [column for column, value in all_values.items() if isinstance(value, str)]
        return Prompt("", frozenset(blank_columns[:1])) if blank_columns else Prompt(None)
    values, joined_columns = _with_input(values, names)
    column = _fullest(values)
    for part in joined_columns | {column}:
        _check_alone(part, row[part])
    text = _without_answer(values[column], answers)
    if is_messages(text) and text[-1]["role"] == "assistant":
        raise UnclearRow(
            f"the column {column!r} ends with an answer that is neither side: it is not the prompt alone; "
            f"name the prompt's column (data.prompt_feature), or leave it out (data.ignore_columns: [{column}])"
        )
    return Prompt(text, joined_columns | {column})


def with_turns(
    row: Mapping[str, Any], prompt: Text, used_columns: frozenset[str] = frozenset()
) -> tuple[Text, frozenset[str]]:
    """Puts the row's history and system turn before `prompt`, and names their columns. Raises `UnusableRow`."""
    history, system = _history(row, used_columns), _system(row, used_columns)
    columns = frozenset(column for column in (history[0], system[0]) if column)
    if not history[1] and not system[1]:
        return prompt, columns
    messages: list[Message] = [{"role": "user", "content": prompt.strip()}] if isinstance(prompt, str) else [*prompt]
    if history[1]:
        messages = _with_history(history[1], messages)
    if not system[1]:
        return messages, columns
    if not messages or messages[0]["role"] != "system":
        return [{"role": "system", "content": system[1]}, *messages], columns
    if squeeze_blanks(content_text(messages[0])) != squeeze_blanks(system[1]):
        raise UnclearRow(
            f"the column {system[0]!r} is not the system turn of the messages; leave it out (data.ignore_columns: [{system[0]}])"
        )
    return messages, columns


def check_prompt(prompt: Text) -> None:
    """Raises `UnusableRow` for a prompt that says nothing."""
    texts = [prompt] if isinstance(prompt, str) else map(content_text, prompt)
    if not isinstance(prompt, str) and prompt and all(message["role"] == "assistant" for message in prompt):
        raise UnusableRow("the prompt is an assistant's turn alone: nobody asks anything")
    has_calls = not isinstance(prompt, str) and any(message.get("tool_calls") for message in prompt)
    if not has_calls and not any(text.strip() for text in texts):
        raise UnusableRow("empty prompt")


def without_empty_answer(prompt: Text) -> Text:
    """Returns `prompt` without a last turn of the assistant's that says nothing: it is the place of the answer."""
    if isinstance(prompt, str) or len(prompt) < 2 or prompt[-1]["role"] != "assistant":
        return prompt
    says_nothing = not content_text(prompt[-1]).strip() and not any(map(prompt[-1].get, ("tool_calls", *REASONS)))
    return prompt[:-1] if says_nothing else prompt


def naming_prompt(row: Mapping[str, Any], used_columns: frozenset[str]) -> str:
    """Suggests the setting that names the prompt's column, with those that may be it; "" where none may."""
    columns = [column for column in sorted(row) if column not in used_columns and not is_about(column)]
    columns = [column for column in columns if is_text(as_chat(row[column])) and not is_blank(row[column])]
    return f"name it (data.prompt_feature: {' or '.join(columns)})" if columns else ""


def is_about(column: str) -> bool:
    """Says whether a name tells of metadata: any of its words, unless the last one says that it is a text."""
    words = words_of(column)
    return bool(words) and not METADATA.isdisjoint(words) and words[-1] not in SAID


def repeats(value: Any, texts: Sequence[str]) -> bool:
    """Says whether everything in `value`, its answers aside, stands in one of `texts` (squeeze_blanks)."""
    return all(
        not passage or any(passage == text or (len(passage) >= LEAST and passage in text) for text in texts)
        for passage in user_texts(value)
    )


def is_blank(value: Any) -> bool:
    """Says whether `value` is None, NaN (as pandas writes it), text of nothing but whitespace, or an empty list or object."""
    return (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or (isinstance(value, str) and not value.strip())
        or (isinstance(value, list | tuple | dict) and not value)
    )


def _opened(value: Any) -> Any:
    """`value` as text or messages, out of the object that holds it."""
    value = as_chat(value)
    if isinstance(value, Mapping):
        return next((value[key] for key in INSIDE if isinstance(value.get(key), str)), value)
    return value


def keys_beside_text(value: Any) -> list[str]:
    """Lists the keys of an object that holds a prompt by which it says more than that; none of what is about it, as `id`."""
    value = as_chat(value)
    text_key = (
        next((key for key in INSIDE if isinstance(value.get(key), str)), None) if isinstance(value, Mapping) else None
    )
    if text_key is None:
        return []
    texts = [squeeze_blanks(value[text_key])]
    return [
        str(key)
        for key, item in value.items()
        if key != text_key
        and isinstance(item, str | list | tuple | Mapping)
        and not (is_blank(item) or is_about(str(key)) or repeats(item, texts))
    ]


def _check_alone(column: str, value: Any) -> None:
    """Raises `UnclearRow` for an object of which the text alone would be read, and that says more."""
    if keys := keys_beside_text(value):
        raise UnclearRow(
            f"the column {column!r} is an object that has {' and '.join(map(repr, keys))} beside its text, which would not be read; "
            "write each into a column of its own, or the whole prompt as one text"
        )


@lru_cache(maxsize=1024)
def _prompt_columns(columns: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((column, key_of(column)) for column in columns if key_of(column) in PROMPTS)


def _with_input(values: dict[str, Any], names: Mapping[str, str]) -> tuple[dict[str, Any], frozenset[str]]:
    """Alpaca's `input`, which its `instruction` is to be carried out on, behind that; and the two columns."""
    parts = [[column for column in values if names[column] == key] for key in ("instruction", "input")]
    if all(len(columns) == 1 for columns in parts):
        (instruction,), (source,) = parts
        if isinstance(values[instruction], str) and not user_texts(values[source]):
            raise UnusableRow(
                f"wrong types: {source} is {kind_of(values[source])}, not text to set behind {instruction}"
            )
    if any(len(columns) != 1 or not isinstance(values[columns[0]], str) for columns in parts):
        return values, frozenset()
    (instruction,), (source,) = parts
    check_no_list(instruction, values[instruction])
    joined = f"{values[instruction].rstrip()}\n{values[source]}"
    return {**values, instruction: joined, source: joined}, frozenset([instruction, source])


def _fullest(values: Mapping[str, Any]) -> str:
    """The column that says all that the others say. Raises `UnclearRow` where none does."""
    for column in sorted(values, key=lambda name: (not is_messages(values[name]), -len(str(values[name])), name)):
        texts = user_texts(values[column])
        if is_text(values[column]) and all(repeats(other_value, texts) for other_value in values.values()):
            return column
    if len(values) == 1:
        (column,) = values
        raise UnclearRow(f"the column {column!r} looks like the prompt and is neither text nor chat messages")
    names = sorted(values)
    raise UnclearRow(
        f"the columns {' and '.join(map(repr, names))} may each be the prompt and differ; name the one "
        f"(data.prompt_feature: {' or '.join(names)}), or all, to be joined in that order ([{', '.join(names)}])"
    )


def _without_answer(value: Any, answers: Sequence[Any]) -> Any:
    """A conversation without the answer it ends with, where that is one of `answers`."""
    if not is_messages(value) or len(value) < 2 or value[-1]["role"] != "assistant":
        return value
    last = squeeze_blanks(content_text(value[-1]))
    return value[:-1] if any(last == squeeze_blanks(answer_text(answer)) for answer in answers) else value


def answer_text(side: Any) -> str:
    """Gives the text that a side answers: its own, or its last message's."""
    if isinstance(side, str):
        return side
    return content_text(side[-1]) if is_messages(side) and side else ""


def _history(row: Mapping[str, Any], used_columns: frozenset[str]) -> tuple[str | None, list[Message]]:
    """A column of turns beside the prompt; as text it is a prompt of its own."""
    value = None if "history" in used_columns else as_chat(row.get("history"))
    if is_blank(value) or not isinstance(value, list | tuple):
        return None, []
    if not is_messages(value):
        raise UnclearRow("the column 'history' is neither chat messages nor pairs of [user, assistant] texts")
    return "history", [uniform_message(message) for message in value]


def _with_history(history: Sequence[Message], prompt: Sequence[Message]) -> list[Message]:
    """`prompt` behind the turns of `history` that it does not begin with itself; the system turn of either goes in front."""
    (system, turns), (prompt_system, prompt_turns) = map(_split_system, (history, prompt))
    if system and prompt_system and not _are_alike(system, prompt_system):
        raise UnclearRow(
            "the column 'history' and the prompt have system turns that differ; leave one of them out "
            "(data.ignore_columns: [history], where the prompt has all turns)"
        )
    return [*(prompt_system or system), *_turns_before(turns, prompt_turns), *prompt_turns]


def _split_system(messages: Sequence[Message]) -> tuple[Sequence[Message], Sequence[Message]]:
    count = 1 if messages and messages[0]["role"] == "system" else 0
    return messages[:count], messages[count:]


def _are_alike(messages: Sequence[Message], others: Sequence[Message]) -> bool:
    """Says whether the same is said by the same, up to whitespace."""
    contents, other_contents = (
        [
            (message["role"], squeeze_blanks(content_text(message)), without_unsure(message.get("tool_calls")))
            for message in part
        ]
        for part in (messages, others)
    )
    return contents == other_contents


def _turns_before(turns: Sequence[Message], prompt_turns: Sequence[Message]) -> Sequence[Message]:
    """`turns` without those that the prompt begins with. Raises `UnclearRow` where they end with another question."""
    if _are_alike(turns, prompt_turns[: len(turns)]):
        return []
    overlap = next(
        (
            count
            for count in range(min(len(turns), len(prompt_turns)), 0, -1)
            if _are_alike(turns[-count:], prompt_turns[:count])
        ),
        0,
    )
    turns = turns[: len(turns) - overlap]
    is_asked_on = any(turn["role"] != "assistant" and content_text(turn).strip() for turn in prompt_turns[:1])
    if not turns or turns[-1]["role"] != "user" or not is_asked_on:
        return turns
    raise UnclearRow(
        "the column 'history' ends with a question that nobody answers, before the prompt asks another; where it is the whole "
        "prompt, name it (data.prompt_feature: history), else leave it out (data.ignore_columns: [history])"
    )


def _system(row: Mapping[str, Any], used_columns: frozenset[str]) -> tuple[str | None, str]:
    columns = [column for column in sorted(row) if key_of(column) in SYSTEMS and column not in used_columns]
    texts = {column: _system_text(column, as_chat(row[column])) for column in columns if not is_blank(row[column])}
    if len({squeeze_blanks(text) for text in texts.values()}) > 1:
        names = " and ".join(map(repr, texts))
        raise UnclearRow(
            f"the columns {names} may each be the system turn and differ; name the one "
            f"(data.system_feature: {' or '.join(texts)})"
        )
    return next(iter(texts.items()), (columns[0] if columns else None, ""))


def _system_text(column: str, value: Any) -> str:
    if isinstance(value, str):
        check_prose(value)
        return text_of_parts(value).strip()
    if is_messages(value) and len(value) == 1 and value[0]["role"] == "system":
        return content_text(value[0]).strip()
    raise UnusableRow(f"wrong types: {column} is not the text of a system turn")
