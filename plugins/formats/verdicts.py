"""Recognises by their names the columns that may say which answer won."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefd.plugins.formats.names import WORSE, words_of
from prefd.plugins.formats.numbering import numbered_columns

VERDICTS = frozenset(
    [
        "winner",
        "winning",
        "preferred",
        "preference",
        "better",
        "best",
        "choice",
        "chosen",
        "selected",
        "label",
        "labels",
        "safer",
    ]
)
BESIDE = frozenset(
    [
        "response",
        "answer",
        "output",
        "completion",
        "model",
        "summary",
        "side",
        "id",
        "index",
        "idx",
        "human",
        "overall",
        "strength",
        "number",
        "letter",
        "name",
        "conversation",
    ]
)
LOSERS = WORSE | frozenset(
    ["loser", "losers", "lost", "lose", "loses", "loosing", "worst", "bad", "wrong", "incorrect", "unsafe", "harmful"]
)
"""Words of a column that says which answer is the worse one."""


def is_verdict(column: str) -> bool:
    """Says whether a column of this name may say which answer won."""
    words = set(words_of(column))
    return bool(words & VERDICTS) and words <= VERDICTS | BESIDE


def verdicts(row: Mapping[str, Any]) -> list[str]:
    """Lists the columns of `row` that may say which answer won."""
    return [column for column in sorted(row) if is_verdict(column) and not isinstance(row[column], list | dict | tuple)]


def one_hot(row: Mapping[str, Any]) -> dict[str, str]:
    """Finds columns as `winner_model_a` and `winner_model_b`, by their marks: {mark: column}."""
    for base, columns in numbered_columns(row).items():
        if not {"winner", "preferred", "better"}.isdisjoint(base) and len(columns) > 1:
            return columns
    return {}
