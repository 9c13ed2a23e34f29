"""Writes what a session does where people look: a line of metrics.jsonl for each optimizer step, and the progress."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

import mlx.core as mx

from prefd.daemon.runs.run_folder import Progress, RunDir
from prefd.daemon.worker.live.references import NOTHING, Counts, References
from prefd.daemon.worker.training.metrics_log import MetricsLog

log = logging.getLogger(__name__)

WRITE_EVERY_S = 0.5


@dataclass
class StepLog:
    """StepLog counts what was looked up in the cache and scored between two steps, and the time."""

    run: RunDir
    references: References
    steps: int = 0
    began: float = field(default_factory=time.monotonic)
    counted: Counts = NOTHING
    """What earlier lines have."""
    _written_at: float = float("-inf")

    @property
    def metrics(self) -> MetricsLog:
        """Return the file of the metrics."""
        return MetricsLog(self.run.metrics)

    def resume(self) -> None:
        """Go on behind the line of the last step whose effect is saved."""
        self.metrics.resume_after(self.steps)
        for line in self.run.read_metrics():
            self.counted = self.counted.plus(int(line.get("ref_hits", 0)), int(line.get("ref_scored", 0)))

    def note_step(self, line: dict[str, float], tokens: int) -> None:
        """Write the line of a step that descended the loss of `tokens`.

        Its `loss` is the sum that the client sent: of a loss of the client's own that is its linear stand-in, not its value.
        """
        now, counts = time.monotonic(), self.references.counts
        seconds = max(now - self.began, 1e-9)
        since = {"ref_hits": counts.hits - self.counted.hits, "ref_scored": counts.scored - self.counted.scored}
        speed = {"tokens_per_second": tokens / seconds, "peak_memory_gb": mx.get_peak_memory() / 1e9}
        self.metrics.append(line | speed | since)
        log.info(
            "step %d: loss:sum %.6g, gradient's norm %.4g, %.1f s",
            line["step"],
            line["loss"],
            line["grad_norm"],
            seconds,
        )
        self.steps, self.began = int(line["step"]), now
        self.counted = counts
        self.write_progress(now=True)

    def write_progress(self, now: bool = False) -> None:
        """Write how far the session is, at most twice a second unless `now`."""
        if not now and time.monotonic() - self._written_at < WRITE_EVERY_S:
            return
        self._written_at = time.monotonic()
        counts = self.references.counts
        metrics = {"ref_hits": float(counts.hits), "ref_scored": float(counts.scored)}
        self.run.write_progress(Progress("live", self.steps, 0, "steps", metrics=metrics))
