"""A segment's id: a ULID, whose order is the order in which segments are believed. The lowest that holds a key wins."""

from __future__ import annotations

import re
import secrets

from ulid import ULID

ID_LENGTH = 26
NAME = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
BEHIND_BITS = 40


def is_id(name: str) -> bool:
    return NAME.fullmatch(name) is not None


def new_id() -> str:
    return str(ULID())


def following(greatest: str) -> str:
    """A new id above `greatest` ("" if there is none), by the clock where that does."""
    new = new_id()
    if new > greatest:
        return new
    # The next millisecond and new random bits: adding 1 would give two writers the same id.
    return str(ULID.from_timestamp(ULID.from_str(greatest).milliseconds + 1))


def behind(lowest: str) -> str:
    """A new id that no other sorts before, of those behind `lowest`: equal but for its last random bits."""
    step = secrets.randbits(BEHIND_BITS) + 1
    return str(ULID.from_int(min(int(ULID.from_str(lowest)) + step, 2**128 - 1)))
