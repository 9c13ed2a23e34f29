"""Which evaluation was the best, and whether it is time to stop: by a metric of the held-out pairs.

What has been seen so far is in every checkpoint, so that a resumed run stops and chooses as an unbroken one does.
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
    """The best value of a metric so far, the step it was seen at, and how many evaluations since did not beat it."""

    metric: str
    smaller_is_better: bool
    min_delta: float = 0.0
    value: float | None = None
    step: int = 0
    stale: int = 0

    @classmethod
    def of(cls, watched: WatchedMetric, min_delta: float = 0.0) -> Best:
        return cls(watched.metric, watched.smaller_is_better, min_delta)

    def see(self, step: int, evaluation: Mapping[str, float]) -> None:
        """Raises `JobError` for a metric that the evaluation does not have."""
        if self.metric not in evaluation:
            known = ", ".join(name for name in evaluation if name.startswith(EVAL))
            raise JobError(f"there is no metric {self.metric} to select by; the evaluations have {known}")
        if self._improved(evaluation[self.metric]):
            self.value, self.step, self.stale = evaluation[self.metric], step, 0
        else:
            self.stale += 1

    def _improved(self, value: float) -> bool:
        """NaN never is an improvement."""
        if self.value is None:
            return not math.isnan(value)
        return (self.value - value if self.smaller_is_better else value - self.value) > self.min_delta


@dataclass
class Selection:
    """The best checkpoint and early stopping, either of which a job may do without."""

    best: Best | None
    stopping: Best | None
    patience: int = 0
    _parts: dict[str, Best] = field(init=False)

    def __post_init__(self) -> None:
        parts = {"best": self.best, "early_stopping": self.stopping}
        self._parts = {name: part for name, part in parts.items() if part is not None}

    @classmethod
    def of(cls, training: TrainingSpec) -> Selection:
        stopping: EarlyStoppingSpec | None = training.early_stopping
        return cls(
            None if training.best is None else Best.of(training.best),
            None if stopping is None else Best.of(stopping, stopping.min_delta),
            0 if stopping is None else stopping.patience,
        )

    @property
    def in_use(self) -> bool:
        return bool(self._parts)

    @property
    def best_step(self) -> int | None:
        """The step whose checkpoint is to be kept, None before the first evaluation or where none is asked for."""
        return self.best.step or None if self.best else None

    @property
    def stop(self) -> bool:
        """Whether the patience is at its end."""
        return self.stopping is not None and self.stopping.stale >= self.patience

    def see(self, step: int, evaluation: Mapping[str, float]) -> None:
        """Take in the metrics of the evaluation behind `step`. Raises `JobError` for a metric that is not among them."""
        for part in self._parts.values():
            part.see(step, evaluation)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            name: {"value": part.value, "step": part.step, "stale": part.stale} for name, part in self._parts.items()
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state()` gave."""
        for name, part in self._parts.items():
            part.value, part.step, part.stale = (state[name][key] for key in ("value", "step", "stale"))

    def why_stopped(self) -> str:
        seen = self.stopping
        assert seen is not None
        if seen.value is None:
            return f"stopped early: {seen.metric} was not a number in {seen.stale} evaluations"
        best = f"{seen.metric} was best at step {seen.step} ({seen.value:.4g})"
        return f"stopped early: {best}, and {seen.stale} evaluations since did not improve it"
