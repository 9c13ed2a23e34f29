"""Refuses a dataset whose answers are texts within JSON or Python's repr, as a table of lists or bytes becomes text.

One such answer may be what was asked for; answers that are a list of one text on both sides of nearly every row are not.
"""

from __future__ import annotations

import ast
from typing import Any

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.dataset import Dataset
from prefd.daemon.worker.data.rows import DataError
from prefd.daemon.worker.data.unread import find_settled_parts
from prefd.plugins.formats.messages import parse_json
from prefd.plugins.types import Pair

NEARLY_ALL = 0.9
WORDS = 3
"""From how many words on a text within a list or an object is an answer, and not a name or a number."""
KEYS = ("content", "value", "text")
"""Keys under which a text is wrapped; an answer in JSON that somebody asked for has other ones."""


def check_wrapped(dataset: Dataset, spec: DataSpec) -> None:
    """Raises `DataError` where both sides of nearly all pairs are texts in a list, an object, quotes or a repr."""
    if "answer" in find_settled_parts(spec):
        return
    wrapped_rows = [number for number, pair in dataset.pairs if is_wrapped(pair)]
    if not wrapped_rows or len(wrapped_rows) < NEARLY_ALL * len(dataset.pairs):
        return
    example = next(str(pair.chosen) for number, pair in dataset.pairs if number == wrapped_rows[0])
    raise DataError(
        f"{dataset.where}: in {len(wrapped_rows)} of {len(dataset.pairs)} pairs both answers are text that was written as a list, "
        f"an object or bytes ({example[:40]}…; {dataset.name_rows(wrapped_rows)}): write the answers' own texts; where the answers "
        "are to look so, name their columns (data.chosen_feature and data.rejected_feature)"
    )


def is_wrapped(pair: Pair) -> bool:
    """Says whether both sides are a text that is wrapped in another's syntax; either side may be a single message."""
    texts = [side if isinstance(side, str) else side[0].get("content") for side in (pair.chosen, pair.rejected) if side]
    return all(isinstance(text, str) and _is_wrapped(text.strip()) for text in texts)


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
    return isinstance(value, dict) and any(key in value and _is_answer(value[key]) for key in KEYS)


def _literal(text: str) -> Any:
    """What `text` is the repr of; None where it is none."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _is_answer(value: Any) -> bool:
    return isinstance(value, str) and len(value.split()) >= WORDS
