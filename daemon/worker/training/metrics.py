"""Metrics by the names TRL gives them, averaged over pairs, and the file they are appended to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from prefd.cache.segments.durable import flush, whole_file
from prefd.daemon.worker.errors import JobError
from prefd.plugins.metrics import METRICS, TRAINERS_METRICS
from prefd.plugins.types import LossInput, LossOutput

Sums = dict[str, mx.array]
AUTHORS = "that is its author's to mend, by `prefd check-loss NAME`"


def pair_metrics(x: LossInput, out: LossOutput) -> Sums:
    """Each metric of one batch, summed over its pairs, so that batches of any size add up.

    Raises `JobError` for what a plugin's loss may not give: one number for a whole batch, or a metric by a name that is
    the trainer's own.
    """
    own = {
        "loss": out.losses,
        "rewards/chosen": out.chosen_rewards,
        "rewards/rejected": out.rejected_rewards,
    }
    _check(own | out.metrics, len(x.policy_chosen.tokens))
    if taken := sorted(TRAINERS_METRICS & out.metrics.keys()):
        raise JobError(f"the loss brings a metric {taken[0]!r}, which is the trainer's own; {AUTHORS}")
    per_pair = {each.name: each.of_pairs(x, out) for each in METRICS.values() if each.of_pairs} | out.metrics
    return {name: mx.stop_gradient(values).astype(mx.float32).sum() for name, values in per_pair.items()}


def _check(given: Mapping[str, Any], pairs: int) -> None:
    for name, values in given.items():
        if (shape := getattr(values, "shape", None)) != (pairs,):
            found = type(values).__name__ if shape is None else f"shape {shape}"
            raise JobError(f"the loss gave {name!r} as {found} for {pairs} pairs, expected ({pairs},); {AUTHORS}")


@dataclass
class Mean:
    """Sums of several batches, and the mean over all their pairs."""

    pairs: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, sums: Sums, pairs: int) -> None:
        """Take in a batch of `pairs` pairs; waits for its numbers."""
        self.pairs += pairs
        for name, value in sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(np.array(value))

    def means(self, prefix: str = "") -> dict[str, float]:
        """Each metric's mean over every pair so far, by its name behind `prefix`."""
        return {prefix + name: value / self.pairs for name, value in self.sums.items()}


@dataclass(frozen=True)
class MetricsLog:
    """metrics.jsonl, one object a line, each line whole when it is there."""

    path: Path

    def append(self, line: dict[str, float]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def flush(self) -> None:
        """Put on disk what was appended, so that a checkpoint never outlives the lines before it."""
        if self.path.exists():
            flush(self.path)

    def truncate_after(self, step: int) -> None:
        """Drop lines past `step` (and any cut line): a resumed run writes them again."""
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []:
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                continue
        with whole_file(self.path, self.path.with_suffix(".partial"), durable=False) as file:
            file.write("".join(kept).encode())
