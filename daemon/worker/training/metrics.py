"""Averages metrics over pairs, by the names that TRL gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import numpy as np

from prefd.daemon.worker.errors import JobError
from prefd.plugins.metrics import METRICS, TRAINERS_METRICS
from prefd.plugins.types import LossInput, LossOutput

Sums = dict[str, mx.array]
REMEDY = "that is its author's to mend, by `prefd check-loss NAME`"


def sum_pair_metrics(x: LossInput, output: LossOutput) -> Sums:
    """Sum each metric of one batch over its pairs, so that batches of any size add up.

    Raises `JobError` for what a plugin's loss may not return: one number for a whole batch, or a metric by a name that is
    the trainer's own.
    """
    trainer_metrics = {
        "loss": output.losses,
        "rewards/chosen": output.chosen_rewards,
        "rewards/rejected": output.rejected_rewards,
    }
    _check_shapes(trainer_metrics | output.metrics, len(x.policy_chosen.tokens))
    if reserved_names := sorted(TRAINERS_METRICS & output.metrics.keys()):
        raise JobError(f"the loss brings a metric {reserved_names[0]!r}, which is the trainer's own; {REMEDY}")
    per_pair = {
        metric.name: metric.of_pairs(x, output) for metric in METRICS.values() if metric.of_pairs
    } | output.metrics
    return {name: mx.stop_gradient(values).astype(mx.float32).sum() for name, values in per_pair.items()}


def _check_shapes(metrics: Mapping[str, Any], pairs: int) -> None:
    for name, values in metrics.items():
        if (shape := getattr(values, "shape", None)) != (pairs,):
            description = type(values).__name__ if shape is None else f"shape {shape}"
            raise JobError(f"the loss gave {name!r} as {description} for {pairs} pairs, expected ({pairs},); {REMEDY}")


@dataclass
class Mean:
    """Sums of several batches, and the mean over all their pairs."""

    pairs: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, sums: Sums, pairs: int) -> None:
        """Add the sums of a batch of `pairs` pairs, and wait for their numbers."""
        self.pairs += pairs
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(np.array(value))

    def merge(self, sums: Mapping[str, float], pairs: int) -> None:
        """Add the sums that another process has of `pairs` other pairs."""
        self.pairs += pairs
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def means(self, prefix: str = "") -> dict[str, float]:
        """Return each metric's mean over every pair so far, by its name behind `prefix`."""
        return {prefix + name: value / self.pairs for name, value in self.sums.items()}
