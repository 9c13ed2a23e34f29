"""Sizes as people write them: `2GB`, `500M`, `1.5GiB`."""

from __future__ import annotations

import re

BYTES = {"": 1, "b": 1} | {
    name.lower(): base**power
    for power, letter in enumerate("kMGT", start=1)
    for name, base in ((letter, 1000), (f"{letter}B", 1000), (f"{letter}i", 1024), (f"{letter}iB", 1024))
}


def parse_size(text: str) -> int | None:
    """Bytes; None for what is no size."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    return int(float(match[1]) * BYTES[match[2]]) if match and match[2] in BYTES else None
