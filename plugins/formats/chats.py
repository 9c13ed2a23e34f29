"""Reads other spellings of chat messages as `{role, content}`: from/value, role/text, role/parts, a message alone, pairs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from prefd.plugins.formats.fields import content_text, is_messages
from prefd.plugins.formats.messages import check_role
from prefd.plugins.formats.metadata import is_metadata
from prefd.plugins.types import Message, UnclearRow

SHAREGPT = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "ai": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
}
"""ShareGPT's `from` as a role."""
SPELLINGS = (("from", "value"), ("role", "text"))
"""Keys of who speaks and what is said; `role` and `text` are PKU's processed-hh-rlhf."""

ANSWERED = re.compile(r"\n\s*Assistant:")
SPEAKERS = re.compile(
    r"\s*((?:System|User|Human|Prompter|Assistant)\s*:)"
    r"(?:.*\n\s*(?:Assistant|AI|Bot|GPT|ChatGPT|User|Human)\s*:|(?<=Human:))",
    re.DOTALL,
)
"""Text that begins with who speaks and has another speaker's turn; or begins as a transcript does and may be a sentence."""


def as_chat(value: Any) -> Any:
    """Gives `value` as chat messages where it is such in another spelling; anything else as it is."""
    if isinstance(value, Mapping):
        value = [value] if _is_sharegpt(value) or is_messages([value]) else value
    if not isinstance(value, list | tuple) or not value:
        return value
    if all(map(_is_sharegpt, value)):
        return list(map(_from_sharegpt, value))
    if all(map(_has_parts, value)):
        return list(map(_from_parts, value))
    if all(map(_is_spoken, value)):
        return [{"role": SHAREGPT[speaker.lower()], "content": text} for speaker, text in value]
    if all(map(_is_exchange, value)):
        return _turns([(item["input"], item["output"]) for item in value])
    if all(map(_is_turn, value[:-1])) and (_is_turn(value[-1]) or _is_question(value[-1], len(value) > 1)):
        return _turns(value)
    return value


def check_messages(value: Any) -> None:
    """Raises `UnusableRow` for messages with a role that nobody knows."""
    for message in value if is_messages(value) else ():
        check_role(message["role"])


def user_texts(value: Any) -> list[str]:
    """Gives what `value` says that is no assistant's: a text, or its messages' texts, each with single spaces."""
    if isinstance(value, str):
        return [squeeze_blanks(value)]
    value = as_chat(value)
    if is_messages(value):
        return [squeeze_blanks(content_text(message)) for message in value if message["role"] != "assistant"]
    if isinstance(value, Mapping):
        return [text for item in value.values() if isinstance(item, str | list) for text in user_texts(item)]
    return [text for item in value for text in user_texts(item)] if isinstance(value, list | tuple) else []


def squeeze_blanks(text: str) -> str:
    """Gives `text` with every run of whitespace as one space, and none around it."""
    return " ".join(text.split())


def is_transcript(value: Any) -> bool:
    """Says whether `value` is text that begins with HH-RLHF's `Human:`, and is not just a sentence that does."""
    if not isinstance(value, str) or not value.lstrip().startswith("Human:"):
        return False
    return value.startswith("\n") or ANSWERED.search(value) is not None


def is_script(text: Any) -> bool:
    """Says whether `text` begins with the name of a speaker and has the turn of somebody else."""
    return isinstance(text, str) and (is_transcript(text) or SPEAKERS.match(text) is not None)


def check_speakers(*texts: Any) -> None:
    """Raises `UnclearRow` for turns in a text that are not marked as HH-RLHF's are: they would all be one user's."""
    for text in texts:
        if isinstance(text, str) and not is_transcript(text) and (speaker := SPEAKERS.match(text)):
            raise UnclearRow(
                f"text of several turns that begins with {speaker[1]!r}; write them as chat messages, or begin the user's with "
                "two line breaks and 'Human:' and the answers with two and 'Assistant:'"
            )


def _is_sharegpt(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and any(
            isinstance(value.get(speaker_key), str) and isinstance(value.get(text_key), str)
            for speaker_key, text_key in SPELLINGS
        )
        and value.get("content") is None
    )


def _from_sharegpt(value: Mapping[str, Any]) -> Message:
    speaker_key, text_key = next(
        keys for keys in SPELLINGS if isinstance(value.get(keys[0]), str) and isinstance(value.get(keys[1]), str)
    )
    others = {key: item for key, item in value.items() if key not in (speaker_key, text_key, "role", "content")}
    role = SHAREGPT.get(value[speaker_key].lower(), value[speaker_key])
    return {"role": role, "content": value[text_key], **others}


def _has_parts(value: Any) -> bool:
    """Says whether it is a message whose content is called `parts`, as Gemini's are."""
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("role"), str)
        and isinstance(value.get("parts"), list | tuple)
        and value.get("content") is None
    )


def _from_parts(value: Mapping[str, Any]) -> Message:
    others = {key: item for key, item in value.items() if key not in ("role", "parts", "content")}
    return {"role": SHAREGPT.get(value["role"].lower(), value["role"]), "content": value["parts"], **others}


def _is_spoken(value: Any) -> bool:
    """Says whether it is [who speaks, what is said], as LangChain's tuples are, and no pair of turns."""
    return _is_turn(value) and value[0].lower() in SHAREGPT


def _is_exchange(value: Any) -> bool:
    """Says whether it is an input with its output, as in distilabel's conversations, and says nothing else."""
    return (
        isinstance(value, Mapping)
        and {"input", "output"} <= value.keys()
        and all(is_metadata(key) or value[key] in (None, "") for key in value.keys() - {"input", "output"})
    )


def _is_turn(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(text, str) for text in value)


def _is_question(value: Any, follows_turns: bool) -> bool:
    """Says whether it is a turn that nobody has answered yet, as the last may be: `[user, null]`, or `[user]` behind others."""
    if not isinstance(value, list | tuple) or not value or not isinstance(value[0], str):
        return False
    return list(value[1:]) == [None] or (follows_turns and len(value) == 1)


def _turns(pairs: Sequence[Sequence[str | None]]) -> list[Message]:
    """[user, assistant] pairs, as in LLaMA-Factory's `history`, one message after the other.

    The last answer may be missing.
    """
    messages: list[Message] = [
        {"role": role, "content": text} for pair in pairs for role, text in zip(("user", "assistant"), pair)
    ]
    return messages[:-1] if messages[-1]["role"] == "assistant" and not messages[-1]["content"] else messages
