"""Parses option values with a unit: sizes, times, and samples. Each function is a `type=` for click."""

from __future__ import annotations

import re
from dataclasses import dataclass

import click

from prefd.daemon.text.sizes import parse_size

SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


@dataclass(frozen=True)
class Sample:
    """Sample is how many completions to take, as a number or in percent."""

    amount: float
    percent: bool


def size(text: str) -> int:
    """Parses bytes: 2GB, 500M, 1.5GiB."""
    parsed = parse_size(text)
    if parsed is None:
        raise click.BadParameter(f"{text!r} is no size; give 2GB, 500MB or 1.5GiB")
    return parsed


def duration(text: str) -> float:
    """Parses seconds: 30d, 12h, 10m."""
    parsed = _parse(text, SECONDS)
    if parsed is None:
        raise click.BadParameter(f"{text!r} is no duration; give 30d, 12h, 10m or 90s")
    return parsed


def age(text: str) -> float:
    """Parses seconds as `duration` does, with a unit in any case: what is older is deleted, and 30 may mean days to you."""
    if re.fullmatch(r"\d+(?:\.\d+)?\s*", text):
        raise click.BadParameter(f"{text!r} has no unit; give {text.strip()}d, {text.strip()}h or {text.strip()}m")
    return duration(text)


def sample(text: str) -> Sample:
    """Parses a number of completions, 200, or a share, 5%."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", text)
    parsed = Sample(float(match[1]), bool(match[2])) if match else Sample(0, False)
    if parsed.amount <= 0 or (parsed.percent and parsed.amount > 100) or (not parsed.percent and parsed.amount % 1):
        raise click.BadParameter(f"{text!r} is no sample; give a number of completions (200) or a share (5%)")
    return parsed


def _parse(text: str, units: dict[str, float]) -> float | None:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text)
    if match is None or match[2] not in units:
        return None
    return float(match[1]) * units[match[2]]
