"""Sizes in bytes as people write and read them: `2GB`, `1.5GiB`, `4.56 GB`. pydantic's ByteSize knows the units."""

from __future__ import annotations

import re

SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")


def parse_size(text: str) -> int | None:
    """The number of bytes that `text` says; None where it says none."""
    match = SIZE.fullmatch(text.strip().lower())
    if match is None:  # ByteSize stops where it understands no more: it takes `8,5GB` for 8 bytes
        return None
    from pydantic import ByteSize, TypeAdapter, ValidationError  # here: options are declared without its 80 ms

    number, unit = match.groups()
    try:
        return int(TypeAdapter(ByteSize).validate_python(number + (f"{unit}b" if unit.endswith("i") else unit)))
    except ValidationError:
        return None


def format_size(count: float) -> str:
    """Writes bytes for people: 0 B, 12.3 kB, 4.56 GB (powers of 1000, as disks are sold)."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 999.5 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError("unreachable")
