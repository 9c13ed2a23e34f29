"""Parsed is a document as plain values; ParseError says why there is none; constants bound how large and deep one may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from prefd.daemon.text.text_fault import Position, Positions, TextFault

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 5_000  # a spec has a few dozen
CUT_SHORT_HINT = "; is the file cut short?"


class ParseError(Exception):
    """The text cannot be read. `fault` says why in parts, and the message in one line."""

    def __init__(self, message: str, position: Position | None = None, path: str = "") -> None:
        self.fault = TextFault(message, path, position)
        super().__init__(str(self.fault))

    @classmethod
    def of_fault(cls, fault: TextFault) -> Self:
        """Returns the error with a fault's parts."""
        return cls(fault.message, fault.position, fault.path)


@dataclass(frozen=True)
class Parsed:
    """Parsed holds plain values, and finds where in the text each of them is."""

    value: Any
    find_positions: Callable[[], Positions] = dict

    @cached_property
    def positions(self) -> Positions:
        """Returns where each path stands in the text: looked for once something is to be told of one."""
        return self.find_positions()


def suspect_cut_file(position: int, text: str) -> str:
    """Returns what to add to a message about `position`: a fault at the very end is most often a file cut short."""
    return CUT_SHORT_HINT if position >= len(text.rstrip()) else ""
