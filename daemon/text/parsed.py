"""Parsed is a document as plain values; ParseError says why there is none; and how large and deep a document may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prefd.daemon.text.wording import Path

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 5_000  # a spec has a few dozen
CUT = "; is the file cut short?"


class ParseError(Exception):
    """The text cannot be read; the message is one line, with line and column where they are known."""


@dataclass(frozen=True)
class Parsed:
    """Plain values, and the line (from 1) each path is on, where the format tells."""

    value: Any
    lines: Mapping[Path, int] = field(default_factory=dict)


def cut_short(position: int, text: str) -> str:
    """What to add to a message about `position`: a fault at the very end is most often a file cut short."""
    return CUT if position >= len(text.rstrip()) else ""
