"""Selects the best evaluation, and tells when to stop early, by a metric of the held-out pairs.

The best values so far are in every checkpoint, so that a resumed run stops and chooses as an unbroken one does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prefd.daemon.specs.optimizer import EarlyStoppingSpec, WatchedMetric
from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.errors import JobError
from prefd.plugins.metrics import EVAL


@dataclass
class Best:
    """Best holds the best value of a metric so far, the step it is of, and how many evaluations since did not beat it."""

    metric: str
    smaller_is_better: bool
    min_delta: float = 0.0
    value: float | None = None
    step: int = 0
    stale: int = 0

    @classmethod
    def from_spec(cls, metric: WatchedMetric, min_delta: float = 0.0) -> Best:
        """Track the metric that a spec selects by."""
        return cls(metric.metric, metric.smaller_is_better, min_delta)

    def record(self, step: int, evaluation: Mapping[str, float]) -> None:
        """Compare the evaluation after `step` with the best. Raises `JobError` where it lacks the metric."""
        if self.metric not in evaluation:
            names = ", ".join(name for name in evaluation if name.startswith(EVAL))
            raise JobError(f"there is no metric {self.metric} to select by; the evaluations have {names}")
        if self._improved(evaluation[self.metric]):
            self.value, self.step, self.stale = evaluation[self.metric], step, 0
        else:
            self.stale += 1

    def _improved(self, value: float) -> bool:
        """Say whether `value` is better than the best; NaN never is."""
        if self.value is None:
            return not math.isnan(value)
        return (self.value - value if self.smaller_is_better else value - self.value) > self.min_delta


@dataclass
class Selection:
    """Selection decides on the best checkpoint and early stopping, either of which a job may do without."""

    best: Best | None
    stopping: Best | None
    patience: int = 0
    _trackers: dict[str, Best] = field(init=False)

    def __post_init__(self) -> None:
        trackers = {"best": self.best, "early_stopping": self.stopping}
        self._trackers = {name: tracker for name, tracker in trackers.items() if tracker is not None}

    @classmethod
    def from_spec(cls, training: TrainingSpec) -> Selection:
        """Track what `training` selects and stops by."""
        stopping: EarlyStoppingSpec | None = training.early_stopping
        return cls(
            None if training.best is None else Best.from_spec(training.best),
            None if stopping is None else Best.from_spec(stopping, stopping.min_delta),
            0 if stopping is None else stopping.patience,
        )

    @property
    def in_use(self) -> bool:
        """Say whether the job selects or stops by anything."""
        return bool(self._trackers)

    @property
    def best_step(self) -> int | None:
        """Return the step whose checkpoint must stay, None before the first evaluation or where the spec selects none."""
        return self.best.step or None if self.best else None

    @property
    def stop(self) -> bool:
        """Say whether so many evaluations without improvement have come that training stops."""
        return self.stopping is not None and self.stopping.stale >= self.patience

    def record(self, step: int, evaluation: Mapping[str, float]) -> None:
        """Record the metrics of the evaluation after `step`. Raises `JobError` where the selecting one is not among them."""
        for tracker in self._trackers.values():
            tracker.record(step, evaluation)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            name: {"value": tracker.value, "step": tracker.step, "stale": tracker.stale}
            for name, tracker in self._trackers.items()
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state()` returned."""
        for name, tracker in self._trackers.items():
            tracker.value, tracker.step, tracker.stale = (state[name][key] for key in ("value", "step", "stale"))

    def explain_stop(self) -> str:
        """Say why training stopped early."""
        stopping = self.stopping
        assert stopping is not None
        if stopping.value is None:
            return f"stopped early: {stopping.metric} was not a number in {stopping.stale} evaluations"
        best = f"{stopping.metric} was best at step {stopping.step} ({stopping.value:.4g})"
        return f"stopped early: {best}, and {stopping.stale} evaluations since did not improve it"
