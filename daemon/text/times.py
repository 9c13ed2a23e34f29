"""Moments and durations as people write and read them: `2026-11-23 02:00`, `02:00`, `+3h`, `3m07s`.

A moment without an offset is in local time.
"""

from __future__ import annotations

import re
import time
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


def format_duration(seconds: float) -> str:
    """Writes seconds for people: 0.4s, 12s, 3m07s, 2h05m, 4d03h."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h{minutes:02d}m"
    return f"{hours // 24}d{hours % 24:02d}h"


def format_clock(at: float | None) -> str:
    """Writes Unix time `at` in local time; the date only where it is not today's, and `-` for none."""
    if at is None:
        return "-"
    moment = datetime.fromtimestamp(at)
    today = moment.date() == datetime.fromtimestamp(time.time()).date()
    return moment.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")
