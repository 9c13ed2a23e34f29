"""Reads and writes moments and durations as people do: `2026-11-23 02:00`, `02:00`, `+3h`, `3m07s`.

A moment without an offset is in the local time of the process that reads it. So a process that hands one on to another writes it
with its offset first (`resolve_moment`), and tells what is odd about it (`explain_moment`): clocks that go forward skip an hour,
and clocks that go back show one twice.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

from prefd.daemon.text.time_zone import explain_unknown_zone

EXPECTED = "a date and time such as 2026-11-23 02:00 (local) or 2026-11-23T02:00+01:00"
ONLY_OPTION = "a time of day alone, or +3h, is for `--not-before` of `prefd submit`"
MAX_LENGTH = 50
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
OFFSET = re.compile(r"\s*(?:(?P<zone>Z|UTC|GMT)|(?P<offset>[+-]\d\d?(?::?\d\d)?))$", re.IGNORECASE)
"""How a moment ends that has an offset, as ISO 8601, YAML and people write it."""
SINGLE_HOUR = re.compile(r"(?<=[ T])(\d)(?=:)")


def parse_moment(text: str) -> float:
    """Parses an ISO 8601 date and time to Unix time. Raises ValueError for anything else."""
    return _read_moment(text)[1].timestamp()


def resolve_moment(text: str) -> str:
    """Writes a moment with its offset: the one it has, or that of local time here. Raises ValueError."""
    return write_moment(_read_moment(text)[1])


def write_moment(moment: datetime) -> str:
    """Writes a moment that has an offset as `2026-11-23 02:00+01:00`, with seconds and their parts where it has some."""
    if moment.microsecond:
        return moment.isoformat(" ")
    return moment.isoformat(" ", "seconds" if moment.second else "minutes")


def explain_moment(text: str, now: float | None = None) -> list[str]:
    """Lists what the writer of the moment should know: which offset it was given, hours that the clocks skip or repeat, and that it is over."""
    plain, moment = _read_moment(text)
    notes = _explain_clocks(text, plain, moment) + _explain_past(moment, now)
    if plain.tzinfo is not None:
        return notes
    if unknown := explain_unknown_zone():
        notes.insert(0, unknown)
    if plain == moment.replace(tzinfo=None):
        return [f"{text} has no offset: it is {write_moment(moment)}, in the local time here", *notes]
    return notes


def parse_next_moment(text: str, now: datetime) -> datetime:
    """Parses what `parse_moment` does, and a time of day (the next one after `now`) or `+3h`. The result has an offset."""
    return _read_next_moment(text, now)[1]


def explain_next_moment(text: str, now: datetime) -> list[str]:
    """Lists what the user who typed the moment should know: hours that the clocks skip or repeat, and that it is over. Raises ValueError."""
    plain, moment = _read_next_moment(text, now)
    return _explain_clocks(text, plain, moment) + _explain_past(moment, now.timestamp())


def _explain_clocks(text: str, plain: datetime, moment: datetime) -> list[str]:
    if plain.tzinfo is not None:
        return []
    if moment.replace(tzinfo=None) != plain:
        return [f"{text} is not on the clocks here, which go forward then: it is taken as {write_moment(moment)}"]
    second = plain.replace(fold=1).astimezone()
    if second.utcoffset() == moment.utcoffset():
        return []
    meaning = f"it is taken as the first, {write_moment(moment)}; the second is {write_moment(second)}"
    return [f"{text} is on the clocks here twice, for they go back then: {meaning}"]


def _explain_past(moment: datetime, now: float | None) -> list[str]:
    is_over = moment.timestamp() < (time.time() if now is None else now)
    return [f"{write_moment(moment)} is over: it holds nothing up"] if is_over else []


def _read_next_moment(text: str, now: datetime) -> tuple[datetime, datetime]:
    """Reads a moment, a time of day or a span from `now`: as it is written, and with an offset. Raises ValueError."""
    if match := re.fullmatch(r"\+\s*(\d{1,6})\s*([smhdw])", text.strip()):
        # Of time that passes, not of the clock's.
        later = (now.astimezone(UTC) + timedelta(**{UNITS[match[2]]: int(match[1])})).astimezone()
        return later, later
    if match := re.fullmatch(r"(\d{1,2}):(\d{2})", text.strip()):
        try:
            plain = now.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
        except ValueError:
            raise ValueError(f"there is no time {text}") from None
        plain = plain if plain > now else plain + timedelta(days=1)
        return plain, _place_on_clocks(plain)
    try:
        return _read_moment(text)
    except ValueError:
        raise ValueError(f"expected {EXPECTED}, 02:00, or +3h") from None


def _read_moment(text: str) -> tuple[datetime, datetime]:
    """Reads a moment as it is written, and as it is with an offset. Raises ValueError."""
    try:
        if len(text) > MAX_LENGTH:  # a fraction of a second may have any number of digits
            raise ValueError
        plain = text.strip()
        match = OFFSET.search(plain) if ":" in plain else None
        if match is not None:
            offset = "+00:00" if match["zone"] else match["offset"]
            sign, digits = offset[0], offset[1:].replace(":", "")
            digits = digits if len(digits) > 2 else f"{digits:0>2}00"
            plain = f"{plain[: match.start()]}{sign}{digits:0>4}"
        written = datetime.fromisoformat(SINGLE_HOUR.sub(r"0\1", plain))
        moment = written if written.tzinfo is not None else _place_on_clocks(written)
        moment.timestamp()
    except (ValueError, OverflowError, OSError):  # the last two: years that no clock shows
        hint = (
            f"; {ONLY_OPTION}"
            if re.fullmatch(r"\s*(\d{1,2}:\d{2}(:\d{2})?|\+\s*\d+\s*\w)\s*", text[:MAX_LENGTH])
            else ""
        )
        raise ValueError(f"expected {EXPECTED}{hint}") from None
    return written, moment


def _place_on_clocks(plain: datetime) -> datetime:
    """Gives a local moment its offset: the first of two that the clocks show, and the hour behind the gap for one that they skip."""
    moment = plain.astimezone()
    if moment.replace(tzinfo=None) == plain:
        return moment
    return max(moment, plain.replace(fold=1).astimezone())


def format_moment(timestamp: float) -> str:
    """Formats Unix time as `2026-11-23 02:00+01:00`, local, with seconds where it has some."""
    return write_moment(datetime.fromtimestamp(int(timestamp)).astimezone())


def format_duration(seconds: float) -> str:
    """Formats seconds for people: 0.4s, 12s, 3m07s, 2h05m, 4d03h."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f}s"
    total = round(seconds)
    if total < 60:
        return f"{total}s"
    minutes, remainder = divmod(total, 60)
    if minutes < 60:
        return f"{minutes}m{remainder:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}h{minutes:02d}m"
    return f"{hours // 24}d{hours % 24:02d}h"


def format_clock(timestamp: float | None) -> str:
    """Formats Unix time in local time; the date only where it is not today's, and `-` for none."""
    if timestamp is None:
        return "-"
    moment = datetime.fromtimestamp(timestamp)
    today = moment.date() == datetime.fromtimestamp(time.time()).date()
    return moment.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")
