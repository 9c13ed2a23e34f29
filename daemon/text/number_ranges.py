"""`parse_numbers` reads the numbers of jobs as people list them: `3`, `1-3`, `1,2`, `1-3,7`."""

from __future__ import annotations

import re
from dataclasses import dataclass

LARGEST = 2**63 - 1
"""SQLite's largest number."""
ITEM = re.compile(r"([0-9]+)(?:-([0-9]+))?")
EXPECTED = "expected numbers such as 3, 1-3, 1,2 or 1-3,7"
EXPECTED_ONE = "expected one number, such as 3"


@dataclass(frozen=True)
class Numbers:
    """Numbers that were listed: each by itself, or as a range, both ends of which belong to it."""

    ranges: tuple[range, ...]

    @property
    def single(self) -> tuple[int, ...]:
        """Return the numbers that were named each by itself."""
        return tuple(each.start for each in self.ranges if len(each) == 1)

    def __contains__(self, number: int) -> bool:
        return any(number in each for each in self.ranges)

    def __str__(self) -> str:
        return ",".join(str(each[0]) if len(each) == 1 else f"{each[0]}-{each[-1]}" for each in self.ranges)


def parse_numbers(text: str) -> Numbers:
    """Parse numbers and ranges, with commas between. Raises ValueError with what is wrong and what is expected."""
    return Numbers(tuple(_parse_item(item.strip(), text) for item in text.split(",")))


def parse_number(text: str) -> int:
    """Parse the number of one job. Raises ValueError with what is wrong and what is expected."""
    match = ITEM.fullmatch(text.strip())
    if match is None or match[2] or not text.isascii():
        raise ValueError(f"{text[:60]!r} is no job's number; {EXPECTED_ONE}")
    if _is_too_large(match[1]):
        raise ValueError(f"{text[:60]} is larger than any job's number; {EXPECTED_ONE}")
    return int(match[1])


def _parse_item(item: str, text: str) -> range:
    match = ITEM.fullmatch(item)
    if match is None or not item.isascii():
        raise ValueError(f"{text[:60]!r} is no list of numbers; {EXPECTED}")
    if any(map(_is_too_large, match.groups("0"))):
        raise ValueError(f"{item[:60]} is larger than any job's number; {EXPECTED}")
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise ValueError(f"{item} goes backwards; write {last}-{first}")
    return range(first, last + 1)


def _is_too_large(digits: str) -> bool:
    """Say whether SQLite has no such number. Python reads no number of some thousand digits."""
    return len(digits.lstrip("0")) > len(str(LARGEST)) or int(digits.lstrip("0") or 0) > LARGEST
