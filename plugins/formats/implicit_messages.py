"""Reads `{chosen, rejected}`, each a whole conversation: the messages that both begin with are the prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prefd.plugins.formats.chats import as_chat
from prefd.plugins.formats.contract import Known, columns_of, make_pair, read_known_names, read_usable_row
from prefd.plugins.formats.fields import content_text, is_conversation, is_messages, read_text
from prefd.plugins.formats.nulls import without_unsure
from prefd.plugins.formats.row_shape import RowShape
from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import Message, Pair, RowFormat, Text, UnclearRow, UnusableRow

PRECEDENCE = 80
ROW_SHAPES = (
    RowShape(
        "`chosen`, `rejected`, each a whole conversation",
        "what both begin with is the prompt",
        "ultrafeedback_binarized, tulu, Skywork, orpo-dpo-mix",
    ),
)
TELLING = frozenset(["role", "content", "tool_calls", "reasoning_content", "reasoning", "thinking", "weight"])
"""Keys of what a message says, or of how it counts; no two messages that differ in one are the same turn."""


class ImplicitMessages:
    """Reads conversations that part at an answer; what comes before it is the prompt.

    A prompt column beside them (as in UltraFeedback's binarised pairs) repeats what they hold and must agree with it.
    """

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Says whether both sides of `row` are whole conversations."""
        known_row = read_known_names(row)
        return known_row is not None and all(is_conversation(known_row.values[side]) for side in ("chosen", "rejected"))

    def pair(self, row: Mapping[str, Any]) -> Pair:
        """Makes the pair of `row`. Raises `UnusableRow`."""
        return pair_of(row, read_usable_row(row))

    def columns(self, row: Mapping[str, Any]) -> frozenset[str]:
        """Names the columns of `row` that its pair is made of."""
        return columns_of(row)


def pair_of(row: Mapping[str, Any], known_row: Known) -> Pair:
    """Makes the pair of a row that has this shape. Raises `UnusableRow`."""
    chosen, rejected = read_text(known_row.values, "chosen"), read_text(known_row.values, "rejected")
    if isinstance(chosen, str) or isinstance(rejected, str):
        raise UnusableRow("wrong types: one side is text, not chat messages")
    prompt, chosen, rejected = split_conversations(chosen, rejected)
    column = as_chat(known_row.values["prompt"])
    if column is not None:
        prompt = _agreed(read_text({"prompt": column}, "prompt"), prompt)
    return make_pair(row, known_row, prompt, chosen, rejected)


def split_conversations(
    chosen: Sequence[Message], rejected: Sequence[Message]
) -> tuple[Sequence[Message], Sequence[Message], Sequence[Message]]:
    """Splits off the shared messages from what follows in each.

    Raises `UnusableRow` where they do not part at an answer.
    """
    if list(chosen) == list(rejected):
        raise UnusableRow("identical sides")
    shared = 0
    while shared < min(len(chosen), len(rejected)) and _is_same(chosen[shared], rejected[shared]):
        shared += 1
    answers = chosen[shared:], rejected[shared:]
    if not all(answers):
        raise UnusableRow("one side is the start of the other")
    if max(map(len, answers)) > 1:
        _check_parting(*(answer[0] for answer in answers))
    if any(answer[0]["role"] != "assistant" for answer in answers):
        raise UnusableRow("the sides part before the answer")
    if shared == 0:
        raise UnusableRow("empty prompt")
    return chosen[:shared], *answers


def _check_parting(message: Message, other: Message) -> None:
    """Raises `UnclearRow` where the first messages that differ say the same, and have another id or time."""
    keys = [key for key in dict.fromkeys([*message, *other]) if message.get(key) != other.get(key)]
    if "tool_calls" in keys and _calls(message) == _calls(other):
        keys[keys.index("tool_calls")] = "tool_calls.id"
    if TELLING.isdisjoint(keys):
        raise UnclearRow(
            f"both sides have the same {message['role']} message but for {', '.join(map(repr, keys))}, so they part before their "
            "answers do; give it the same value in both, or take it out of the messages"
        )


def _calls(message: Message) -> list[Mapping[str, Any]]:
    """The tool calls of a message without what only tells them apart."""
    return [
        {key: value for key, value in call.items() if key not in ("id", "index")}
        for call in message.get("tool_calls") or ()
    ]


def _agreed(column: Text, prompt: Sequence[Message]) -> Sequence[Message]:
    """`prompt` behind the system turn that only the column has. Raises `UnclearRow` where the column says something else."""
    if not isinstance(column, str) and column and column[0]["role"] == "system" and prompt[0]["role"] != "system":
        if not _agrees(column[1:], prompt):
            raise UnclearRow(
                "the prompt column is not what the conversations begin with, and has a system turn that they have not; write "
                "the messages that are meant into both sides, and leave it out (data.ignore_columns: [prompt])"
            )
        return [column[0], *prompt]
    if not _agrees(column, prompt):
        raise UnclearRow(
            "the prompt column is not what the conversations begin with; leave it out (data.ignore_columns: [prompt])"
        )
    return prompt


def _agrees(column: Text, prompt: Sequence[Message]) -> bool:
    if isinstance(column, str):
        return not column.strip() or any(column.strip() == content_text(message).strip() for message in prompt)
    return is_messages(column) and len(prompt) >= len(column) and all(map(_is_same, prompt, column))


def _is_same(message: Message, other: Message) -> bool:
    """Says whether two messages are the same as far as it is certain: a table may pad each otherwise."""
    return message == other or without_unsure(message) == without_unsure(other)


@hookimpl
def register_formats(register: Callable[[str, RowFormat], None]) -> None:
    """Registers `implicit_messages`."""
    register("implicit_messages", ImplicitMessages())
