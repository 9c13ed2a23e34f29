"""Telling everyone else how far a phase is: progress.json at most twice a second, and a line in the log now and then."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

from prefd.daemon.runs.phases import Phase
from prefd.daemon.runs.run_folder import Progress, RunDir

log = logging.getLogger(__name__)

WRITE_EVERY_S = 0.5
LOG_EVERY_S = 10.0


@dataclass
class Reporter:
    """Counts `done` of `total` `unit`s; `rate` and ETA come from what this process did.

    Where units differ in size, `cost` is what all that is left costs together, and the ETA goes by it.
    """

    run: RunDir
    phase: Phase
    total: int
    unit: str
    done: int = 0
    cost: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._began_at = self.done
        self._spent = 0.0
        self._written = self._logged = float("-inf")
        self._publish()

    def advance(self, amount: int, metrics: dict[str, float] | None = None, cost: float = 0.0) -> None:
        """`amount` more units are done, which cost `cost`."""
        self.done += amount
        self._spent += cost
        self.metrics = metrics or self.metrics
        now = time.monotonic()
        finished = self.done >= self.total
        if finished or now - self._written >= WRITE_EVERY_S:
            self._publish()
        if finished or now - self._logged >= LOG_EVERY_S:
            self._logged = now
            log.info("%s", self.line())

    @property
    def rate(self) -> float | None:
        elapsed = time.monotonic() - self._began
        return (self.done - self._began_at) / elapsed if self.done > self._began_at and elapsed > 0 else None

    @property
    def eta_s(self) -> float | None:
        if self.rate is None:
            return None
        if self.cost is not None and self._spent > 0:
            return max(self.cost - self._spent, 0) * (time.monotonic() - self._began) / self._spent
        return max(self.total - self.done, 0) / self.rate

    def line(self) -> str:
        """One line for the log: how much, how fast, how long still."""
        pace = "" if self.rate is None else f", {self.rate:.1f} {self.unit}/s, {self.eta_s:.0f} s to go"
        numbers = "".join(f", {name} {value:.4f}" for name, value in self.metrics.items())
        return f"{self.phase}: {self.done} of {self.total} {self.unit}{pace}{numbers}"

    def _publish(self) -> None:
        self._written = time.monotonic()
        self.run.write_progress(
            Progress(self.phase, self.done, self.total, self.unit, self.rate, self.eta_s, self.metrics)
        )
