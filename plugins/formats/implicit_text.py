"""Reads `{chosen, rejected}`, each the prompt and an answer in one string: the text both begin with is the prompt.

Where the answers begin alike, their first words go to the prompt. That changes no difference between the sides: the
tokens are the same, after the same prompt. Data with a prompt column, or with turns, says better where it ends.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from prefd.plugins.formats.chats import check_speakers
from prefd.plugins.formats.contract import columns_of, make_pair, read_known_names, read_usable_row
from prefd.plugins.formats.row_shape import RowShape
from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import Pair, RowFormat, UnusableRow

PRECEDENCE = 10
ROW_SHAPES = (
    RowShape(
        "`chosen`, `rejected` as text, and nothing that could be the prompt",
        "the words both begin with are the prompt; the report says how many",
    ),
)
UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0xA4CF),  # Chinese and Japanese, their punctuation, Yi
    (0xF900, 0xFAFF),
    (0xFF00, 0xFFEF),
    (0x20000, 0x3FFFF),
)
"""Code points of scripts that put no spaces between words."""


NO_PROMPT = "empty prompt"
HEADER = re.compile(
    r"(<\|im_start\|>assistant|<\|start_header_id\|>assistant<\|end_header_id\|>|<start_of_turn>model|<\|assistant\|>|<｜Assistant｜>"
    r"|<\|start\|>assistant<\|message\|>|<\|CHATBOT_TOKEN\|>)\n*|\[/INST\]"
)
"""What the templates of known models write before an answer, up to where the model goes on."""


class ImplicitText:
    """Splits where the sides part, backed off to a boundary between words; the space there goes to the answers."""

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Says whether both sides of `row` are strings, and no column is its prompt."""
        known_row = read_known_names(row)
        return (
            known_row is not None
            and not known_row.has_prompt
            and all(isinstance(known_row.values[side], str) for side in ("chosen", "rejected"))
        )

    def pair(self, row: Mapping[str, Any]) -> Pair:
        """Makes the pair of `row`. Raises `UnusableRow`."""
        known_row = read_usable_row(row)
        if not self.matches(row):
            raise UnusableRow("wrong types: chosen and rejected must be text, without a prompt column")
        # What follows the last word is no answer, and must not be what the sides differ in.
        chosen, rejected = (str(known_row.values[side]).rstrip() for side in ("chosen", "rejected"))
        check_speakers(chosen, rejected)
        if not chosen or not rejected:
            raise UnusableRow("empty completion")
        if chosen == rejected:
            raise UnusableRow("identical sides")
        cut = split_point(chosen, rejected)
        if not chosen[:cut].strip():
            raise UnusableRow(NO_PROMPT)
        return make_pair(row, known_row, chosen[:cut], chosen[cut:], rejected[cut:])

    def columns(self, row: Mapping[str, Any]) -> frozenset[str]:
        """Names the columns of `row` that its pair is made of."""
        return columns_of(row)


def split_point(a: str, b: str) -> int:
    """Finds where the answers begin in `a` and `b`: behind the last header of a chat template that both have.

    Where there is none, it is the last boundary between words in what they share; 0 where there is none. Leaves neither empty.
    """
    shorter = min(len(a), len(b))
    longest = next((i for i in range(shorter) if a[i] != b[i]), shorter - 1)
    headers = [header.end() for header in HEADER.finditer(a) if a[: header.end()] == b[: header.end()]]
    if headers and headers[-1] < shorter:
        return headers[-1]
    return next((cut for cut in range(longest, 0, -1) if _is_boundary(a, b, cut)), 0)


def _is_boundary(a: str, b: str, cut: int) -> bool:
    before, after = a[cut - 1], (a[cut], b[cut])
    if before.isspace():
        return False  # the whole run of whitespace stays together
    if all(char.isspace() for char in after):
        return True
    if any(unicodedata.category(char).startswith("M") for char in after):
        return False  # a mark belongs to the letter before it
    return is_unspaced(before) or all(is_unspaced(char) for char in after)


def is_unspaced(char: str) -> bool:
    """Says whether `char` is of a script that puts no spaces between words."""
    return any(first <= ord(char) <= last for first, last in UNSPACED)


@hookimpl
def register_formats(register: Callable[[str, RowFormat], None]) -> None:
    """Registers `implicit_text`."""
    register("implicit_text", ImplicitText())
