"""`read_header` reads which tensors a safetensors file has, and where they lie in it; no tensor is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST_HEADER = 256 * 2**20
"""Bytes of a header; no model has a longer one."""

Tensors = Mapping[str, Mapping[str, Any]]
"""Name → `dtype`, `shape`, `data_offsets`."""


class BadHeader(ValueError):
    """The file is no complete safetensors file. The message, which goes on behind its name, says what it is instead."""


@dataclass(frozen=True)
class WeightHeader:
    """WeightHeader says which tensors a file has."""

    tensors: Tensors
    begin: int
    """The byte of the file from which their offsets count."""
    size: int
    """The file's, in bytes."""


def read_header(path: Path) -> WeightHeader:
    """Reads the header of a safetensors file. Raises `BadHeader`, and OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if not 0 < length <= min(MOST_HEADER, size - 8):
            raise BadHeader(f"is no safetensors file (it begins with {start!r})")
        text = file.read(length)
    try:
        header = json.loads(text)
        tensors = {name: each for name, each in header.items() if name != "__metadata__"}
        end = max((each["data_offsets"][1] for each in tensors.values()), default=0)
        is_whole = size >= 8 + length + end
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise BadHeader("is no safetensors file (its header cannot be read)") from error
    if not is_whole:
        raise BadHeader(f"is cut short ({size:,} of {8 + length + end:,} bytes)")
    return WeightHeader(tensors, 8 + length, size)
