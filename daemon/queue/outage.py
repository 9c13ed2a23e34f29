"""Outage keeps which models and datasets of the hub could not be reached, and when one of the jobs that need them tries again.

A job that names none of them goes on as ever: its files may be local, or on this disk from before. Of those that do, the first
in the queue's order tries; the others wait for what it finds, so they start in their order when the hub is back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection

from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.path_or_hub_id import HUB_ID
from prefd.daemon.text.times import format_clock
from prefd.daemon.timing import USUAL, Timing

log = logging.getLogger(__name__)


def list_hub_names(spec: JobSpec) -> frozenset[str]:
    """List the models and datasets that the job takes from the hub."""
    models = [spec.model, *([spec.named_reference.model] if spec.named_reference is not None else [])]
    names = {str(model) for model in models if HUB_ID.match(str(model))}
    sources = [*spec.data.sources, *spec.data.held_out_sources]
    return frozenset(names | {source.path for source in sources if source.local is None and HUB_ID.match(source.path)})


class Outage:
    """Outage is the outage of one queue, or none: of the hub, or of the device."""

    def __init__(self, timing: Timing = USUAL, what: str = "the hub", by_turns: bool = False) -> None:
        self.timing = timing
        self.what = what
        """What a job reaches that finds the outage over."""
        self.by_turns = by_turns
        """Whether another job tries next than the one that tried last: it may be what a job computes that fails."""
        self.names: frozenset[str] = frozenset()
        self.reason: str | None = None
        """Why something could not be reached, in words; None where all can, as far as is known."""
        self._trier: int | None = None
        """The job that tries now."""
        self._tried: set[int] = set()
        """The jobs that have tried since each of them had its turn."""
        self._passed_over: set[int] = set()
        """Those of them that could have tried again, had no other job been there to do so."""
        self._wait = timing.first_outage_retry
        self._retry_at = 0.0

    def note(self, job_id: int, names: Collection[str], reason: str) -> None:
        """Note that a job could not reach what it needs."""
        if self.reason is None:
            self._wait = self.timing.first_outage_retry
        self._retry_at = time.monotonic() + self._wait
        log.warning("job %d waits: %s; tried again in %g s", job_id, reason, self._wait, extra={"job": job_id})
        self._wait = min(2 * self._wait, self.timing.last_outage_retry)
        self.names |= frozenset(names)
        self.reason = reason
        self._trier = None
        self._tried = {job_id} if job_id in self._tried else {*self._tried, job_id}
        self._passed_over.clear()

    @property
    def trier(self) -> int | None:
        """Return the job that tries now; None where none does."""
        return self._trier

    def forget_trier(self, job_ids: Collection[int]) -> None:
        """Let another job try where the one that was to is not among these, which wait or run."""
        if self._trier is not None and self._trier not in job_ids:
            self._trier = None

    def note_reached(self, job_id: int) -> None:
        """Note that a job got at all that it needs: if it was the one that tried, the outage is over."""
        if self._trier == job_id:
            log.info("job %d reached %s: the jobs that waited for it go on", job_id, self.what, extra={"job": job_id})
            self.names, self.reason, self._trier = frozenset(), None, None
            self._tried.clear()

    def let_try(self, job_id: int, names: Collection[str]) -> str | None:
        """Return what the job waits for; None where it may start, which makes it the one that tries if it needs what is away."""
        if self.reason is None or self.names.isdisjoint(names) or self._trier == job_id:
            return None
        remaining = self._retry_at - time.monotonic()
        if self._trier is None and remaining <= 0:
            if self._is_passed_over(job_id):
                return f"{self.reason}; another job tries first whether that is over"
            self._trier = job_id
            return None
        when = (
            f"job {self._trier} tries whether that is over"
            if self._trier is not None
            else f"tried again at {format_clock(time.time() + remaining)}"
        )
        return f"{self.reason}; {when}"

    def _is_passed_over(self, job_id: int) -> bool:
        """Say whether to pass over a job, for others to try: at one look, for there may be none that can start."""
        if not self.by_turns or job_id not in self._tried or job_id in self._passed_over:
            return False
        self._passed_over.add(job_id)
        return True

    @property
    def has_passed_over(self) -> bool:
        """Say whether a job was passed over and no other tries, so that the next look lets it try."""
        return bool(self._passed_over) and self._trier is None
