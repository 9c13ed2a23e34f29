"""Option values with a unit: sizes, times, and how much of something. Each is a `type=` for click."""

from __future__ import annotations

import re
from dataclasses import dataclass

import click

from prefd.daemon.text.sizes import parse_size

SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


@dataclass(frozen=True)
class Sample:
    amount: float
    percent: bool


def size(text: str) -> int:
    """Bytes: 2GB, 500M, 1.5GiB."""
    parsed = parse_size(text)
    if parsed is None:
        raise click.BadParameter(f"{text!r} is no size; give 2GB, 500MB or 1.5GiB")
    return parsed


def duration(text: str) -> float:
    """Seconds: 30d, 12h, 10m."""
    parsed = _parse(text, SECONDS)
    if parsed is None:
        raise click.BadParameter(f"{text!r} is no duration; give 30d, 12h, 10m or 90s")
    return parsed


def sample(text: str) -> Sample:
    """200, or 5%."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", text)
    made = Sample(float(match[1]), bool(match[2])) if match else Sample(0, False)
    if made.amount <= 0 or (made.percent and made.amount > 100) or (not made.percent and made.amount % 1):
        raise click.BadParameter(f"{text!r} is no sample; give a number of completions (200) or a share (5%)")
    return made


def _parse(text: str, units: dict[str, float]) -> float | None:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text)
    if match is None or match[2] not in units:
        return None
    return float(match[1]) * units[match[2]]
