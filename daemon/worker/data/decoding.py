"""Decodes the ids of a pair's sides into the text that the model reads and learns, token by token or whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker_tasks.previews import Part

REPLACEMENT_CHARACTER = "�"
"""The text that a part of a character decodes to."""


def split_side(tokenizer: Any, side: Completion, special: frozenset[int]) -> tuple[Part, Part]:
    """Split one side into its prompt and its answer; both are decoded as the one text that they are."""
    ids = side.ids.tolist()
    texts = decode_tokens(tokenizer, ids)
    marks = [token in special for token in ids]
    answer_start = side.start
    prompt = Part(ids[:answer_start], texts[:answer_start], marks[:answer_start], [False] * answer_start)
    return prompt, Part(ids[answer_start:], texts[answer_start:], marks[answer_start:], side.own.tolist(), side.cut)


def decode_tokens(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Decode what each token adds to the text of `ids`; a character of several tokens is the last one's.

    Each is decoded behind the piece before it: a tokenizer may drop the space that a text of its own begins with.
    """
    texts: list[str] = []
    context_start = begin = 0
    known_text = ""
    for end in range(1, len(ids) + 1):
        text = decode(tokenizer, ids[context_start:end])
        if text.endswith(REPLACEMENT_CHARACTER) and end < len(ids):
            texts.append("")
            continue
        texts.append(text[len(known_text) :])
        context_start, begin = begin, end
        known_text = decode(tokenizer, ids[context_start:begin])
    return texts


def list_special_ids(tokenizer: Any) -> frozenset[int]:
    """List every token that was added to the vocabulary by itself: those of templates too, which may not be special."""
    return frozenset([*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder])


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """Decode `ids` whole, special tokens included."""
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def decode_side(tokenizer: Any, side: Completion) -> tuple[str, str]:
    """Decode one side's prompt and answer, each whole; where they share a character, each shows its own part of it as �."""
    ids = side.ids.tolist()
    prompt, whole = decode(tokenizer, ids[: side.start]), decode(tokenizer, ids)
    if whole.startswith(prompt):
        return prompt, whole[len(prompt) :]
    return prompt, decode(tokenizer, ids[side.start :])
