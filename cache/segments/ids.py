"""Makes the ids of segments: ULIDs, in whose order segments are believed. The lowest that holds a key wins."""

from __future__ import annotations

import re
import secrets

from ulid import ULID

ID_LENGTH = 26
NAME = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
BEHIND_BITS = 40


def is_id(name: str) -> bool:
    """Says whether `name` is written as the ids of segments are."""
    return NAME.fullmatch(name) is not None


def new_id() -> str:
    """Makes an id from the clock and random bits."""
    return str(ULID())


def make_id_after(greatest: str) -> str:
    """Makes an id above `greatest` ("" if there is none), from the clock unless that is behind it."""
    new = new_id()
    if new > greatest:
        return new
    # The next millisecond and new random bits: adding 1 would give two writers the same id.
    return str(ULID.from_timestamp(ULID.from_str(greatest).milliseconds + 1))


def make_id_behind(lowest: str) -> str:
    """Makes an id that sorts right behind `lowest`, before all others: it equals that but for its last random bits."""
    step = secrets.randbits(BEHIND_BITS) + 1
    return str(ULID.from_int(min(int(ULID.from_str(lowest)) + step, 2**128 - 1)))
