"""Reports how far a phase is: progress.json at most twice a second, and a line in the log every ten seconds."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

from prefd.daemon.machine.heat import read_thermal_pressure
from prefd.daemon.machine.power import read_slept_seconds
from prefd.daemon.runs.phases import Phase
from prefd.daemon.runs.run_folder import Progress, RunDir
from prefd.daemon.text.times import format_duration

log = logging.getLogger(__name__)

WRITE_EVERY_S = 0.5
LOG_EVERY_S = 10.0
LONG_SLEEP_S = 1.0


@dataclass
class Reporter:
    """Counts `done` of `total` `unit`s; `rate` and ETA come from what this process did.

    Where units differ in size, `cost` is the cost of all remaining units together, and the ETA goes by it.
    """

    run: RunDir
    phase: Phase
    total: int
    unit: str
    done: int = 0
    cost: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    note: str = ""
    """What else there is to say, in words."""

    def __post_init__(self) -> None:
        self._started = time.monotonic()
        self._done_at_start = self.done
        self._cost_so_far = 0.0
        self._written_at = self._logged_at = float("-inf")
        self._slept = read_slept_seconds()
        self._publish()

    def advance(self, amount: int, metrics: dict[str, float] | None = None, cost: float = 0.0) -> None:
        """Count `amount` more units as done, which cost `cost`."""
        self.done += amount
        self._cost_so_far += cost
        self.metrics = metrics or self.metrics
        now = time.monotonic()
        finished = self.done >= self.total
        if finished or now - self._written_at >= WRITE_EVERY_S:
            self._publish()
        if finished or now - self._logged_at >= LOG_EVERY_S:
            self._logged_at = now
            log.info("%s%s", self.line(), self._describe_machine())

    @property
    def rate(self) -> float | None:
        """Return how many units a second were done since this process began, None before the first."""
        elapsed = time.monotonic() - self._started
        return (self.done - self._done_at_start) / elapsed if self.done > self._done_at_start and elapsed > 0 else None

    @property
    def eta_s(self) -> float | None:
        """Return the seconds to the end, None before there is a rate."""
        if self.rate is None:
            return None
        if self.cost is not None and self._cost_so_far > 0:
            return max(self.cost - self._cost_so_far, 0) * (time.monotonic() - self._started) / self._cost_so_far
        return max(self.total - self.done, 0) / self.rate

    def line(self) -> str:
        """Write one line for the log: how much is done, how fast, how long it will still take."""
        pace = "" if self.rate is None else f", {self.rate:.1f} {self.unit}/s, {self.eta_s:.0f} s to go"
        numbers = "".join(f", {name} {value:.4f}" for name, value in self.metrics.items())
        return f"{self.phase}: {self.done} of {self.total} {self.unit}{pace}{numbers}"

    def _describe_machine(self) -> str:
        """Say, as a clause for the log, what explains a slow report: that the machine slept since the last, or is hot."""
        before, self._slept = self._slept, read_slept_seconds()
        slept = 0.0 if before is None or self._slept is None else self._slept - before
        facts = [f"the machine slept {format_duration(slept)}"] if slept >= LONG_SLEEP_S else []
        if pressure := read_thermal_pressure():
            facts.append(f"heat slows the machine (thermal pressure {pressure})")
        return "".join(f"; {fact}" for fact in facts)

    def _publish(self) -> None:
        self._written_at = time.monotonic()
        self.run.write_progress(
            Progress(self.phase, self.done, self.total, self.unit, self.rate, self.eta_s, self.metrics, note=self.note)
        )
