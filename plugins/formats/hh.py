r"""Reads HH-RLHF: a transcript of `\n\nHuman: …` and `\n\nAssistant: …` turns inside each side, or in the prompt.

A transcript becomes chat messages, so that its turns go through the chat template like anybody's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from prefd.plugins.formats.chats import is_transcript
from prefd.plugins.formats.contract import Known, columns_of, make_pair, read_known_names, read_usable_row
from prefd.plugins.formats.fields import read_text
from prefd.plugins.formats.implicit_messages import split_conversations
from prefd.plugins.formats.row_shape import RowShape
from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import Message, Pair, RowFormat, UnclearRow, UnusableRow

PRECEDENCE = 90
ROW_SHAPES = (
    RowShape("`chosen`, `rejected`: `\\n\\nHuman: … \\n\\nAssistant: …`", "turns become messages", "hh-rlhf"),
)
TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
OTHER_ANSWERER = re.compile(r"\n((?:AI|Bot|GPT|ChatGPT|Model)\s*:)\Z")
ROLES = {"Human": "user", "Assistant": "assistant"}


class HH:
    """Reads rows whose sides are transcripts that part at an answer, or whose prompt is one and each side the answer alone."""

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Says whether the sides, or the prompt, of `row` are transcripts."""
        known_row = read_known_names(row)
        if known_row is None:
            return False
        prompt, chosen, rejected = (known_row.values[column] for column in ("prompt", "chosen", "rejected"))
        if not isinstance(chosen, str) or not isinstance(rejected, str):
            return False
        if isinstance(prompt, str):
            return is_transcript(prompt)
        return prompt is None and is_transcript(chosen) and is_transcript(rejected)

    def pair(self, row: Mapping[str, Any]) -> Pair:
        """Makes the pair of `row`. Raises `UnusableRow`."""
        return pair_of(row, read_usable_row(row))

    def columns(self, row: Mapping[str, Any]) -> frozenset[str]:
        """Names the columns of `row` that its pair is made of."""
        return columns_of(row)


def pair_of(row: Mapping[str, Any], known_row: Known) -> Pair:
    """Makes the pair of a row that has this shape. Raises `UnusableRow`."""
    chosen, rejected = (_transcript(known_row.values, column) for column in ("chosen", "rejected"))
    conversations = parse(chosen), parse(rejected)
    if not any(turn["role"] == "assistant" for turns in conversations for turn in turns):
        raise UnclearRow(
            "a transcript in which no 'Assistant:' begins behind two line breaks; write it so, or as chat messages"
        )
    prompt, *sides = split_conversations(*conversations)
    return make_pair(row, known_row, prompt, *sides)


def parse(transcript: str) -> list[Message]:
    """Splits `transcript` into its turns as messages, without the whitespace around them."""
    _, *parts = TURN.split(transcript)
    return [{"role": ROLES[speaker], "content": text.strip()} for speaker, text in zip(parts[::2], parts[1::2])]


def _transcript(row: Mapping[str, Any], column: str) -> str:
    """The side with its prompt in front."""
    side, prompt = read_text(row, column), row.get("prompt")
    if not isinstance(side, str) or not isinstance(prompt, str | None):
        raise UnusableRow("wrong types: messages where a transcript was expected")
    if prompt is None or side.startswith(prompt):
        if not is_transcript(side):
            raise UnusableRow(f"{column} is not a transcript that begins with 'Human:'")
        return side
    prompt = prompt.rstrip()
    if other_answerer := OTHER_ANSWERER.search(prompt):
        raise UnclearRow(f"a transcript whose answers begin with {other_answerer[1]!r}; write 'Assistant:'")
    return f"{prompt}{'' if prompt.endswith('Assistant:') else chr(10) * 2 + 'Assistant:'} {side}"


@hookimpl
def register_formats(register: Callable[[str, RowFormat], None]) -> None:
    """Registers `hh`."""
    register("hh", HH())
