"""The run that each tool shows: nine metrics for each step, with two spikes and three steps that are not finite in its loss."""

from __future__ import annotations

import random
from collections.abc import Mapping

STEPS = 100_000
SPIKES = {42_917: 9.5, 71_003: 6.25}
NOT_FINITE = (60_000, 60_001, 60_002)
METRICS = (
    "loss",
    "rewards/accuracies",
    "rewards/margins",
    "rewards/chosen",
    "rewards/rejected",
    "logps/chosen",
    "logps/rejected",
    "grad_norm",
    "learning_rate",
)
Series = Mapping[str, list[float]]


def make_series(steps: int) -> Series:
    """Make metrics that fall, rise and tremble as those of a run; what is planted stands at the same share of a shorter one."""
    noise = random.Random(0)
    series: dict[str, list[float]] = {
        name: [1 / (1 + number + step / steps) + noise.gauss(0, 0.01) for step in range(1, steps + 1)]
        for number, name in enumerate(METRICS)
    }
    for step, value in SPIKES.items():
        series["loss"][place_of(step, steps) - 1] = value
    for step in NOT_FINITE:
        series["loss"][place_of(step, steps) - 1] = float("nan")
    return series


def place_of(step: int, steps: int) -> int:
    """Return the step of a run of `steps` at which that of a whole one stands."""
    return int(step * steps / STEPS)
