"""How values, keys and faults are put into words: bounded, printable, on one line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

NUMBERED = re.compile(r"(?P<file>.*(?::|\brow ))\d+", re.DOTALL)
"""A row's place: `pairs.jsonl:4`, `pairs.parquet row 4`, `row 4`."""
Path = tuple[str | int, ...]
"""Where a value is: keys and list indices from the top."""


def dotted(path: Path) -> str:
    """`training.lora.keys[0]`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{clip(part)}" for part in path)
    return "".join(parts).lstrip(".")


def kind(value: Any) -> str:
    """What a person calls a value of this type."""
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else "a date or time")


def clip(text: str, length: int = 60) -> str:
    """`text` on one line, printable, at most `length` characters."""
    line = "".join(char if char.isprintable() else " " for char in text[: length + 1]).strip()
    return line if len(text) <= length else line[: length - 1] + "…"


def listed_places(places: Sequence[str], count: int) -> str:
    """The first places of `count` rows, each file named once: `a.jsonl:4, 7, b.jsonl:1, …`."""
    shown: list[str] = []
    before = ""
    for place in places:
        match = NUMBERED.fullmatch(place)
        file = match["file"] if match else ""
        shown.append(place[len(file) :] if file and file == before else place)
        before = file
    return ", ".join(shown) + (", …" if count > len(places) else "")


def one_line(error: BaseException) -> str:
    return clip(str(error) or type(error).__name__, 200)


def shown(value: Any) -> str:
    """`value` as a spec would write it, or what it is when it is long."""
    if isinstance(value, dict | list):
        return kind(value)
    if isinstance(value, str):
        return json.dumps(clip(value), ensure_ascii=False)
    if value is None or isinstance(value, bool | int | float):
        return clip(json.dumps(value))
    return kind(value)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that `word` most likely stands for: close spelling, its initials (`lr`), or a part of it."""
    names = list(known)
    word = word[:100]
    plain = {name.replace("_", "").lower(): name for name in names}
    for name in names:
        if "_" in name and word.lower() == "".join(part[0] for part in name.split("_") if part):
            return name
    if close := get_close_matches(word.replace("_", "").replace("-", "").lower(), plain, n=1, cutoff=0.65):
        return plain[close[0]]
    parts = [name for name in names if len(word) >= 4 and (word.lower() in name or name in word.lower())]
    return parts[0] if len(parts) == 1 else None
