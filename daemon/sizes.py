"""Sizes as people write them: `2GB`, `500M`, `1.5GiB`. pydantic's ByteSize knows the units."""

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
