"""What a server has sent of the loss: the points themselves, read out of its answers, and what of the planted is among them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from pages.planted_run import NOT_FINITE, SPIKES, place_of

Points = dict[int, float]


def read_trackio(answers: Iterable[str]) -> Points:
    """Read the loss out of trackio's answers: somewhere in them is a list of rows with a step and the metrics."""
    points: Points = {}
    for answer in answers:
        with suppress(ValueError):
            points |= {int(row["step"]): to_number(row["loss"]) for row in find_rows(json.loads(answer))}
    return points


def find_rows(value: Any) -> Iterator[dict[str, Any]]:
    """Find every object with a step and a loss, however deep it lies."""
    if isinstance(value, dict):
        if "step" in value and "loss" in value:
            yield value
        for each in value.values():
            yield from find_rows(each)
    elif isinstance(value, list):
        for each in value:
            yield from find_rows(each)


def read_tensorboard(answers: Iterable[str]) -> Points:
    """Read a card of TensorBoard: (wall time, step, value) for each point."""
    points: Points = {}
    for answer in answers:
        points |= {int(step): to_number(value) for _, step, value in json.loads(answer)}
    return points


def to_number(value: Any) -> float:
    """Return a number as it was written: NaN is a word in JSON, or null."""
    return math.nan if value is None else float(value)


def describe_spikes(points: Points, steps: int) -> str:
    """Say which of the planted spikes are among the points, and how many of the steps those are."""
    values = [value for step, value in SPIKES.items() if math.isclose(points.get(place_of(step, steps), 0.0), value)]
    largest = max((value for value in points.values() if math.isfinite(value)), default=math.nan)
    which = f"{len(values)} of 2 sent" + (", drawn as any point" if values else "")
    return f"{which}: {len(points):,} of {steps:,} points, the largest {largest:.2f}"


def describe_not_finite(points: Points, steps: int) -> str:
    """Say which of the steps that are not finite are among the points."""
    present = [step for step in NOT_FINITE if math.isnan(points.get(place_of(step, steps), 0.0))]
    return f"{len(present)} of 3 sent" + (", drawn as nothing" if present else "")
