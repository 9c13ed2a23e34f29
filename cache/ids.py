"""A segment's id: a ULID, whose order is the order in which segments are believed. The lowest that holds a key wins."""

from __future__ import annotations

from ulid import ULID


def is_id(name: str) -> bool:
    try:
        ULID.from_str(name)
    except ValueError:
        return False
    return True


def following(greatest: str) -> str:
    """A new ULID above `greatest` ("" if there is none), by the clock where that does."""
    new = str(ULID())
    if new > greatest:
        return new
    # The next millisecond and new random bits: adding 1 would give two writers the same id.
    return str(ULID.from_timestamp(ULID.from_str(greatest).milliseconds + 1))
