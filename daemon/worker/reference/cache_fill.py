"""Fills the cache with what a reference gives: chunk after chunk, committed as it comes, so that a kill loses one at most."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn

from prefd.cache.segments.values import InvalidLogprobs
from prefd.daemon.runs.pipeline_summary import PipelineSummary
from prefd.daemon.runs.window_summary import WindowSummary
from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.device_trouble import is_device_trouble, is_out_of_memory
from prefd.daemon.worker.errors import JobError, Stopped
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.pace import Pace
from prefd.daemon.worker.progress import Reporter
from prefd.daemon.worker.ranks.mate import LostRank
from prefd.daemon.worker.reference.scoring_batches import Batch
from prefd.daemon.worker.reference.scoring_pass import ReferencePass, Scores, count_tokens
from prefd.daemon.worker.reference.shared_scoring import SharedScoring
from prefd.daemon.worker.reference.unscored_batches import UnscoredBatches
from prefd.daemon.worker.stopping import StopEvent

log = logging.getLogger(__name__)

FLUSH_EVERY_S = 15.0
FLUSH_ENTRIES = 4096


@dataclass
class FillSummary:
    """FillSummary says what a pass over the missing completions did."""

    seconds: float = 0.0
    """Of forward passes and commits; loading left out."""
    scored: int = 0
    scored_elsewhere: int = 0
    windows: WindowSummary | None = None
    pipeline: PipelineSummary | None = None
    ranks: int = 1
    """How many processes have scored."""
    warnings: list[str] = field(default_factory=list)


@dataclass
class CacheFill:
    """Scores with `reference` what is unscored, and commits it as it comes."""

    job: RunningJob
    rows: dict[bytes, Example]
    reference: ReferencePass
    unscored: UnscoredBatches
    stop: StopEvent
    report: Reporter
    result: FillSummary = field(default_factory=FillSummary)
    shared: SharedScoring | None = None
    """Shares the batches out among ranks; None where this process scores alone."""
    pending: Scores = field(default_factory=dict)
    """Scores that are not committed yet."""

    def __post_init__(self) -> None:
        self.pace = Pace.from_environment(loading.device())
        self.flushed = self.resumed = time.monotonic()

    def run(self) -> FillSummary:
        """Score chunk after chunk. Raises `Stopped` after a commit when asked to stop."""
        began = time.monotonic()
        readings = 0
        while chunk := self._take():
            readings += 1
            self._score(chunk)
            if self.stop.is_set():  # a chunk of several ranks may have ended with batches that nobody has scored
                self._raise_stopped()
        self._commit()
        if self.stop.is_set():
            self._raise_stopped()
        self.result.seconds = time.monotonic() - began
        if self.reference.windows is not None:
            self.result.windows = self.reference.windows.summarize(readings)
        self.result.warnings = [self.reference.warning] if self.reference.warning else []
        if self.shared is not None:
            self.result.warnings += self.shared.warnings
        return self.result

    def _score(self, chunk: list[Batch]) -> None:
        self.resumed = time.monotonic()
        computed = self._compute(chunk)
        while True:
            with self._committed_before_a_failure():
                scored = next(computed, None)
            if scored is None:
                break
            batch, scores = scored
            self.pending |= scores
            self.result.scored += len(batch)
            if self._is_commit_due():
                self._commit()
            self.report.advance(len(batch))
            if self.stop.is_set():
                self._raise_stopped()
            self.resumed = time.monotonic()
        if self.reference.windows is not None:
            self._commit()

    def _compute(self, chunk: list[Batch]) -> Iterator[tuple[Batch, Scores]]:
        """Score the batches of a chunk, in whatever order they come."""
        if self.shared is not None:
            return self.shared.score(chunk, self._note_run, self.stop, self.unscored.take_free)
        return zip(chunk, self.reference.score(chunk, self._rest, self._check_stop))

    def _take(self) -> list[Batch]:
        """Take the next chunk, and count what others have scored."""
        chunk = self.unscored.take(self.stop, before_waiting=self._commit)
        if elsewhere := self.unscored.scored_elsewhere - self.result.scored_elsewhere:
            self.result.scored_elsewhere += elsewhere
            self.report.advance(elsewhere)
        return chunk

    def _rest(self, batch: Batch) -> None:
        """Between two runs of batches: note how long the last one took, report it, and rest."""
        self._note_run(batch, time.monotonic() - self.resumed)

    def _note_run(self, batch: Batch, seconds: float, rank: int = 0) -> None:
        """Do so for a batch that ran for so many seconds in a rank: where that is another one, it is not for this process to rest."""
        self.unscored.size.note_seconds(seconds)
        self.report.advance(0, cost=count_tokens([batch]) / self.reference.runs)
        if rank == 0:
            self.pace.rest(seconds, self.stop)
        self.unscored.claims.renew()
        self.resumed = time.monotonic()

    def _check_stop(self, _: Batch) -> None:
        """Stop between two windows if asked to: what has not run through the last one is lost."""
        if self.stop.is_set():
            self._raise_stopped()

    def _raise_stopped(self) -> NoReturn:
        self._take_others_scores()
        self._commit()
        raise Stopped(f"scored {self.report.done} of {self.report.total} completions; they are kept")

    def _take_others_scores(self) -> None:
        """Take, before all ends, what other ranks have scored while this one computed."""
        for batch, scores in () if self.shared is None else self.shared.take_answers():
            self.pending |= scores
            self.result.scored += len(batch)
            self.report.advance(len(batch))

    def _is_commit_due(self) -> bool:
        overdue = time.monotonic() - self.flushed >= FLUSH_EVERY_S
        return self.stop.is_set() or overdue or len(self.pending) >= FLUSH_ENTRIES

    @contextmanager
    def _committed_before_a_failure(self) -> Iterator[None]:
        """Commit what is pending where the device fails in the block, its memory runs out, or a rank is lost: it is not scored again then."""
        try:
            yield
        except (RuntimeError, MemoryError, LostRank) as error:
            if isinstance(error, LostRank) or is_device_trouble(error) or is_out_of_memory(error):
                try:
                    self._take_others_scores()
                    self._commit()
                except JobError as fault:
                    log.warning("what was scored since the last commit cannot be kept: %s", fault)
            raise

    def _commit(self) -> None:
        """Commit what is pending, and take the claims on it back."""
        try:
            self.job.store.put(self.pending)
        except InvalidLogprobs as error:
            raise JobError(
                f"the reference {self.job.reference.model} gave no usable log-probabilities for {self.rows[error.key]}: {error}; "
                "nothing of that batch was kept"
            ) from error
        except OSError as error:
            raise JobError(f"the reference cache at {self.job.cache.path} cannot be written: {error}") from error
        self.unscored.claims.release_keys(self.pending)
        self.pending, self.flushed = {}, time.monotonic()
