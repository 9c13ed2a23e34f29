"""Moments as people write them: `2026-11-23 02:00`, `02:00`, `+3h`. Without an offset they are in local time."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

EXPECTED = "a date and time such as 2026-11-23 02:00 (local) or 2026-11-23T02:00+01:00"
MAX_LENGTH = 50
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_moment(text: str) -> float:
    """Unix time of an ISO 8601 date and time. Raises ValueError for anything else."""
    try:
        if len(text) > MAX_LENGTH:  # a fraction of a second may have any number of digits
            raise ValueError
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):  # the last two: years that no clock shows
        raise ValueError(f"expected {EXPECTED}") from None


def next_moment(text: str, now: datetime) -> datetime:
    """As `parse_moment`, and besides a time of day (the next one after `now`) or `+3h`. With an offset."""
    if match := re.fullmatch(r"\+\s*(\d{1,6})\s*([smhdw])", text.strip()):
        return (now + timedelta(**{UNITS[match[2]]: int(match[1])})).astimezone()
    if match := re.fullmatch(r"(\d{1,2}):(\d{2})", text.strip()):
        try:
            today = now.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
        except ValueError:
            raise ValueError(f"there is no time {text}") from None
        return (today if today > now else today + timedelta(days=1)).astimezone()
    try:
        return datetime.fromtimestamp(parse_moment(text)).astimezone()
    except ValueError:
        raise ValueError(f"expected {EXPECTED}, 02:00, or +3h") from None


def shown_moment(at: float) -> str:
    """`2026-11-23 02:00`, local, with seconds where it has some."""
    moment = datetime.fromtimestamp(at)
    return moment.strftime("%Y-%m-%d %H:%M" if not moment.second else "%Y-%m-%d %H:%M:%S")
