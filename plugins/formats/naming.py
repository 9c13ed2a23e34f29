"""Reads the words by which a text names an answer: `Response 2`, `B`, `the first`."""

from __future__ import annotations

from prefd.plugins.formats.names import ANSWERS, CHATS, words_of
from prefd.plugins.formats.verdicts import BESIDE

NAMING = BESIDE | ANSWERS | CHATS | {"assistant", "option", "ref", "candidate", "choice"}
"""Words before the letter or number of an answer."""
FIRST, SECOND = frozenset(["first", "left"]), frozenset(["second", "right"])
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def mark_in(value: str) -> str:
    """Finds the letter or number that a text names an answer by: `2` of `Response 2`; "" where it names none so."""
    words = words_of(value)
    if not words or not set(words[:-1]) <= NAMING:
        return ""
    return str(int(words[-1])) if words[-1].isdecimal() else words[-1] if len(words[-1]) == 1 else ""
