"""Sizes in bytes as people write and read them: `2GB`, `500M`, `1.5GiB`, `4.56 GB`."""

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


def format_size(count: float) -> str:
    """Writes bytes for people: 0 B, 12.3 kB, 4.56 GB (powers of 1000, as disks are sold)."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 999.5 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError("unreachable")
