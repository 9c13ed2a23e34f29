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
"""Metric → (2,): the sum over the pairs, answers or tokens that it is a metric of, and how many those are."""
CHOSEN, REJECTED, MARGINS = "rewards/chosen", "rewards/rejected", "rewards/margins"
REMEDY = "that is its author's to mend, by `prefd check-loss NAME`"


def sum_pair_metrics(x: LossInput, output: LossOutput) -> Sums:
    """Sum each metric of one batch over its pairs, so that batches of any size add up.

    Raises `JobError` for what a plugin's loss may not return: one number for a whole batch, or a metric by a name that is
    the trainer's own.
    """
    trainer_metrics = {
        "loss": output.losses,
        CHOSEN: output.chosen_rewards,
        REJECTED: output.rejected_rewards,
    }
    _check_shapes(trainer_metrics | output.metrics, len(x.policy_chosen.tokens))
    if reserved_names := sorted(TRAINERS_METRICS & output.metrics.keys()):
        raise JobError(f"the loss brings a metric {reserved_names[0]!r}, which is the trainer's own; {REMEDY}")
    per_pair = {metric.name: metric.of_pairs(x, output) for metric in METRICS.values() if metric.of_pairs}
    counted: dict[str, mx.array] = {}
    if x.desirable is not None:
        answered = [metric for metric in METRICS.values() if metric.of_answers]
        per_pair = {metric.name: metric.of_answers(x, output) for metric in answered if metric.of_answers}
        counted = {m.name: x.desirable == m.of_label for m in answered if m.of_label is not None}
    every = mx.ones(output.losses.shape, mx.bool_)
    sums = {
        name: _sum_counted(values, counted.get(name, every)) for name, values in (per_pair | output.metrics).items()
    }
    if x.policy_chosen.distribution is None:
        return sums
    return sums | {each.name: mx.stack(list(each.of_tokens(x))) for each in METRICS.values() if each.of_tokens}


def _sum_counted(values: mx.array, counted: mx.array) -> mx.array:
    """Sum the values that count, (2,): with how many those are."""
    numbers = mx.stop_gradient(values).astype(mx.float32)
    return mx.stack([mx.where(counted, numbers, 0).sum(), counted.sum().astype(mx.float32)])


def _check_shapes(metrics: Mapping[str, Any], pairs: int) -> None:
    for name, values in metrics.items():
        if (shape := getattr(values, "shape", None)) != (pairs,):
            description = type(values).__name__ if shape is None else f"shape {shape}"
            raise JobError(f"the loss gave {name!r} as {description} for {pairs} pairs, expected ({pairs},); {REMEDY}")


@dataclass
class Mean:
    """Mean sums several batches, and gives the mean over all their pairs."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)

    def add(self, sums: Sums) -> None:
        """Add the sums of a batch, and wait for their numbers."""
        for name, values in sums.items():
            value, count = np.array(values).tolist()
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0.0) + count

    def merge(self, sums: Mapping[str, float], counts: Mapping[str, float]) -> None:
        """Add the sums that another process has of other pairs, and of how many each is."""
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0.0) + counts[name]

    def means(self, prefix: str = "") -> dict[str, float]:
        """Return each metric's mean over every pair so far that it is a metric of, by its name behind `prefix`.

        Of answers with a label the margin is the mean reward of good ones less that of bad ones; it and the means of a label
        that no answer has are left out.
        """
        means = {name: value / self.counts[name] for name, value in self.sums.items() if self.counts[name]}
        if MARGINS not in self.sums and CHOSEN in means and REJECTED in means:
            means[MARGINS] = means[CHOSEN] - means[REJECTED]
        return {prefix + name: value for name, value in means.items()}
