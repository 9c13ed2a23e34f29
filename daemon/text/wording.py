"""Puts values, keys, counts and faults into words: bounded, printable, on one line."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from typing import Any

NUMBERED = re.compile(r"(?P<file>.*(?::|\brow ))\d+", re.DOTALL)
"""A row's place: `pairs.jsonl:4`, `pairs.parquet row 4`, `row 4`."""
Path = tuple[str | int, ...]
"""Where a value is: keys and list indices from the top."""


def format_path(path: Path) -> str:
    """Formats a path as `training.lora.keys[0]`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{clip(part)}" for part in path)
    return "".join(parts).lstrip(".")


def name_type(value: Any) -> str:
    """Names the type of a value as a person would."""
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else "a date or time")


def compose(text: str) -> str:
    """Return a name with its accents composed (NFC): macOS's files have them apart, and a keyboard does not."""
    return unicodedata.normalize("NFC", text)


def clip(text: str, length: int = 60) -> str:
    """Puts `text` on one line, printable, at most `length` characters."""
    line = "".join(char if char.isprintable() else " " for char in text[: length + 1]).strip()
    return line if len(text) <= length else line[: length - 1] + "…"


def list_places(places: Sequence[str], count: int) -> str:
    """Lists the first places of `count` rows, each file named once: `a.jsonl:4, 7, b.jsonl:1, …`."""
    labels: list[str] = []
    before = ""
    for place in places:
        match = NUMBERED.fullmatch(place)
        file = match["file"] if match else ""
        labels.append(place[len(file) :] if file and file == before else place)
        before = file
    return ", ".join(labels) + (", …" if count > len(places) else "")


def summarize_error(error: BaseException) -> str:
    """Puts an error's message, or else its type, on one line."""
    return clip(str(error) or type(error).__name__, 200)


def format_value(value: Any) -> str:
    """Formats `value` as a spec would write it, or names its type when it is long."""
    if isinstance(value, dict | list):
        return name_type(value)
    if isinstance(value, str):
        return json.dumps(clip(value), ensure_ascii=False)
    if value is None or isinstance(value, bool | int | float):
        return clip(json.dumps(value))
    return name_type(value)


SAME_WORD = 0.7
"""Two spellings of one word are at least so alike."""
SAME_NAME = 0.9
"""Two names are, where one has no `_` between its words."""


def find_nearest(word: str, candidates: Iterable[str]) -> str | None:
    """Finds the candidate that `word` is a slip of: misspelt, shortened to its initials (`lr`) or to some of its words.

    Never one that is only alike: a word more or another word (`eval_batch_size`, `system_feature`) is another meaning,
    and a user who takes advice on `delta` and writes `beta` trains something else.
    """
    names, word = list(candidates), word[:100].lower().replace("-", "_").strip("_")
    parts = word.split("_")
    initials = [name for name in names if "_" in name and word == "".join(part[:1] for part in name.split("_"))]
    if initials or not word:
        return initials[0] if initials else None
    alike = {name: _measure_likeness(parts, name.lower().split("_")) for name in names}
    best = max(names, key=lambda name: alike[name], default=None)
    if best is not None and alike[best]:
        return best
    longer = [name for name in names if len(word) >= 4 and f"_{word}_" in f"_{name.lower()}_"]
    return longer[0] if len(longer) == 1 else None


def _measure_likeness(words: list[str], other_words: list[str]) -> float:
    """Measures how alike two names are, 0 where they are two names."""
    ratio = SequenceMatcher(None, "".join(words), "".join(other_words)).ratio()
    word_ratios = [SequenceMatcher(None, *pair).ratio() for pair in zip(words, other_words)]
    same_words = len(words) == len(other_words) and all(each >= SAME_WORD for each in word_ratios)
    return ratio if same_words or ratio >= SAME_NAME else 0.0


def format_number(value: Any) -> str:
    """Formats a metric in at most nine characters or so: 0.6931, -123.4, 1.00e-05; `-` for none."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return str(value)
    magnitude = abs(value)
    if 0 < magnitude < 1e-3:
        return f"{value:.2e}"
    if magnitude >= 1e6:
        return f"{value:.3e}"
    decimals = 4 if magnitude < 10 else 2 if magnitude < 1000 else 1 if magnitude < 10_000 else 0
    return f"{value:.{decimals}f}"


def list_numbers(numbers: Sequence[int], noun: str = "job", most: int = 20) -> str:
    """Lists numbered things in words: `job 3`, `jobs 3, 5 and 6`; of more than `most`, how many there are besides."""
    if len(numbers) == 1:
        return f"{noun} {numbers[0]}"
    shown, omitted = [str(number) for number in numbers[:most]], len(numbers) - most
    last = f"{omitted:,} more" if omitted > 0 else shown.pop()
    return f"{noun}s {', '.join(shown)} and {last}"


def pluralize(count: int, noun: str) -> str:
    """Formats how many of something there are: 1 step, 12,345 steps."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def format_amount(count: float, noun: str) -> str:
    """Formats a setting that counts something, as a spec has it: 0.5 epochs, 1 step, 12345 steps."""
    return f"{count:g} {noun}{'' if count == 1 else 's'}"
