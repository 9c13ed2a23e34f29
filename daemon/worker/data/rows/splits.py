"""Suggests the setting to write where a split is missing, with the likeliest of the splits there are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from prefd.daemon.specs.data_files import SPLIT_NAMES


def suggest_split(labels: Sequence[str], splits: Sequence[str], key: str) -> str:
    """Writes `name one: data.split: train_prefs`. Held-out splits are never suggested to train on."""
    words = set[str]().union(*(SPLIT_NAMES.get(split, {split.lower()}) for split in splits))
    likely = next((label for label in labels if words & words_of(label)), None)
    return f"name one: {key}: {likely}" if likely else f"name one of them ({key})"


def words_of(label: str) -> set[str]:
    """Splits a label into its words, in lower case."""
    return set(re.split(r"[^a-z0-9]+", label.lower()))


def names_held_out_split(label: str) -> bool:
    """Says whether a split's name is that of pairs which are held out."""
    return not words_of(label).isdisjoint(SPLIT_NAMES["validation"] | SPLIT_NAMES["test"])


def names_a_split(label: str) -> bool:
    """Says whether a label has a word that names any split."""
    return any(not names.isdisjoint(words_of(label)) for names in SPLIT_NAMES.values())


def quote_names(splits: Iterable[str]) -> str:
    """Joins names in quotes by "or"."""
    return " or ".join(map(repr, splits))
