"""Refuses a dataset whose answers or prompts are texts within JSON or Python's repr, as a table of lists or bytes becomes text.

One such text may be what was asked for; a list of one text in nearly every row is not.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.dataset import Dataset
from prefd.daemon.worker.data.rows import DataError
from prefd.daemon.worker.data.unread import find_settled_parts
from prefd.plugins.formats.fields import content_text
from prefd.plugins.formats.messages import parse_json
from prefd.plugins.types import Text

NEARLY_ALL = 0.9
WORDS = 3
"""From how many words on a text within a list or an object is an answer, and not a name or a number."""
KEYS = ("content", "value", "text")
"""Keys under which a text is wrapped; an answer in JSON that somebody asked for has other ones."""


def check_wrapped(dataset: Dataset, spec: DataSpec) -> None:
    """Raises `DataError` where a side or the prompt of nearly every pair is text in a list, an object, quotes or a repr.

    Where the spec names their columns they are what is meant.
    """
    settled_parts = find_settled_parts(spec)
    if "answer" not in settled_parts:
        _refuse_wrapped(
            dataset,
            ("chosen", "rejected"),
            "write the answers' own texts; where they are to look so, name their columns (data.chosen_feature and "
            "data.rejected_feature)",
        )
    if "prompt" not in settled_parts:
        _refuse_wrapped(
            dataset,
            ("prompt",),
            "write the prompts' own texts; where they are to look so, name their column (data.prompt_feature)",
        )


def _refuse_wrapped(dataset: Dataset, parts: Sequence[str], remedy: str) -> None:
    wrapped = [
        (number, part, text)
        for number, pair in dataset.pairs
        for part in parts
        if _is_wrapped(text := _text_of(getattr(pair, part)))
    ]
    rows = list(dict.fromkeys(number for number, _, _ in wrapped))
    if rows and len(rows) >= NEARLY_ALL * len({number for number, _ in dataset.pairs}):
        names = " and ".join(dict.fromkeys(part for _, part, _ in wrapped))
        raise DataError(
            f"{dataset.where}: in {len(rows)} of {len(dataset.pairs)} pairs {names} is text that was written as a list, an object, a "
            f"quotation or bytes ({wrapped[0][2][:40]}…; {dataset.name_rows(rows)}): {remedy}"
        )


def _text_of(answer: Text) -> str:
    """A text, or that of its only message."""
    if isinstance(answer, str):
        return answer.strip()
    return content_text(answer[0]).strip() if len(answer) == 1 else ""


def _is_wrapped(text: str) -> bool:
    if not text.startswith(("[", "{", '"', "b'", 'b"')) or len(text) < 2:
        return False
    if text.startswith(("b'", 'b"')):
        return isinstance(_literal(text), bytes)
    try:
        value = parse_json(text)
    except (ValueError, RecursionError):
        value = _literal(text)
    if text.startswith('"'):
        return isinstance(value, str)
    if isinstance(value, list) and len(value) == 1:
        return _is_answer(value[0])
    return isinstance(value, dict) and (
        any(key in value and _is_answer(value[key]) for key in KEYS) or _has_message(value)
    )


def _has_message(value: Any) -> bool:
    """Says whether a chat message is anywhere in `value`, as in what OpenAI's service answers."""
    if isinstance(value, dict):
        return {"role", "content"} <= value.keys() or any(map(_has_message, value.values()))
    return isinstance(value, list) and any(map(_has_message, value))


def _literal(text: str) -> Any:
    """Says what `text` is the repr of; None where it is none."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _is_answer(value: Any) -> bool:
    return isinstance(value, str) and len(value.split()) >= WORDS
