"""Writes what a session does where people look: a line of metrics.jsonl for each optimizer step, and the progress."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

import mlx.core as mx

from prefd.daemon.runs.run_folder import Progress, RunDir
from prefd.daemon.worker.live.references import References
from prefd.daemon.worker.training.metrics_log import MetricsLog
from prefd.daemon.worker_tasks.live_requests import LossResult

log = logging.getLogger(__name__)

WRITE_EVERY_S = 0.5


@dataclass
class StepLog:
    """StepLog adds up what was done since the last step."""

    run: RunDir
    references: References
    steps: int = 0
    loss: float = 0.0
    tokens: float = 0.0
    began: float = field(default_factory=time.monotonic)
    counted: tuple[int, int] = (0, 0)
    """Hits and scored completions that earlier lines have."""
    _written_at: float = float("-inf")

    @property
    def metrics(self) -> MetricsLog:
        """Return the file of the metrics."""
        return MetricsLog(self.run.metrics)

    def note_loss(self, result: LossResult) -> None:
        """Note the loss of a `forward_backward`, which the next step goes by."""
        self.loss += result.metrics["loss:sum"]
        self.tokens += result.metrics["tokens:sum"]

    def note_step(self, step: int, grad_norm: float, learning_rate: float) -> None:
        """Write the line of a step. `loss` is the sum that was sent: of a client's own loss, that of its linear stand-in."""
        now, references = time.monotonic(), self.references
        hits, scored = references.hits - self.counted[0], references.scored - self.counted[1]
        line = {
            "step": step,
            "loss": self.loss,
            "grad_norm": grad_norm,
            "learning_rate": learning_rate,
            "tokens_per_second": self.tokens / max(now - self.began, 1e-9),
            "peak_memory_gb": mx.get_peak_memory() / 1e9,
            "ref_hits": hits,
            "ref_scored": scored,
        }
        self.metrics.append(line)
        log.info("step %d: loss:sum %.6g, gradient's norm %.4g, %.1f s", step, self.loss, grad_norm, now - self.began)
        self.steps, self.loss, self.tokens, self.began = step, 0.0, 0.0, now
        self.counted = references.hits, references.scored
        self.write_progress(now=True)

    def write_progress(self, now: bool = False) -> None:
        """Write how far the session is, at most twice a second unless `now`."""
        if not now and time.monotonic() - self._written_at < WRITE_EVERY_S:
            return
        self._written_at = time.monotonic()
        counts = {"ref_hits": float(self.references.hits), "ref_scored": float(self.references.scored)}
        self.run.write_progress(Progress("live", self.steps, self.steps, "steps", metrics=counts))
