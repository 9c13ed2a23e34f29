"""Runs the reference pass: scores the completions that the cache lacks, and commits them as they come.

The reference is loaded only when something is missing. A killed pass keeps every batch it committed.
"""

from __future__ import annotations

import logging
import time

from prefd.daemon.runs.phase_outcomes import PrecomputeOutcome
from prefd.daemon.runs.phase_summaries import PrecomputeSummary
from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.device import describe_machine
from prefd.daemon.worker.progress import Reporter
from prefd.daemon.worker.reference.cache_fill import CacheFill, FillSummary
from prefd.daemon.worker.reference.needed_completions import Needs
from prefd.daemon.worker.reference.scoring_batches import BatchSize
from prefd.daemon.worker.reference.scoring_pass import open_reference
from prefd.daemon.worker.reference.unscored_batches import UnscoredBatches
from prefd.daemon.worker.stopping import StopEvent

log = logging.getLogger(__name__)


def precompute(job: RunningJob, stop: StopEvent, began: float | None = None) -> PrecomputeOutcome:
    """Fill the cache with what `job` needs. `began`: when its phase began, in monotonic seconds; None is now.

    Raises `Stopped` after a flush when asked to, `JobError` for bad scores.
    """
    began = time.monotonic() if began is None else began
    needs = Needs.collect(job)
    missing = job.store.missing(list(needs.completions))
    scoring = FillSummary()
    if missing:
        scoring = _score_missing(job, {key: needs.completions[key] for key in missing}, needs.rows, stop)
    line = f"reference: {scoring.scored} of {len(needs.completions)} completions scored"
    if scoring.scored_elsewhere:
        line += f", {scoring.scored_elsewhere} by others meanwhile"
    if scoring.windows is not None:
        line += f"; {scoring.windows.format()}"
    log.info("%s", line)
    summary = PrecomputeSummary(
        reference=job.reference.model,
        fingerprint=job.fingerprint.name,
        **dict(needs.audit(missing)),
        scored=scoring.scored,
        scored_elsewhere=scoring.scored_elsewhere,
        seconds=time.monotonic() - began,
        scoring_seconds=scoring.seconds,
        windows=scoring.windows,
        data=job.data.report.summarize(),
        damage=sorted(job.store.damage.values()),
        machine=describe_machine() if missing else "",
        warnings=scoring.warnings,
        line=line,
    )
    return PrecomputeOutcome(ok=True, reason=line, summary=summary)


def _score_missing(
    job: RunningJob, missing: dict[bytes, Completion], rows: dict[bytes, Example], stop: StopEvent
) -> FillSummary:
    """Score and commit `missing`, but for what others score meanwhile."""
    tokens = sum(len(completion.ids) for completion in missing.values())
    log.info("loading the reference %s to score %d completions (%d tokens)", job.reference.model, len(missing), tokens)
    reference = open_reference(job, job.run.batches.halvings)
    log.info("scoring: %s", reference.scorer.describe())
    if reference.warning:
        log.warning("%s", reference.warning)
    size = BatchSize(reference.batch_tokens, 0 if loading.device() == "cpu" else reference.layers_per_run)
    claims = job.store.open_claims()
    unscored = UnscoredBatches(missing, size, job.store, claims, reference.chunk_tokens)
    report = Reporter(job.run, "precompute", len(missing), "completions", cost=tokens)
    try:
        return CacheFill(job, rows, reference, unscored, stop, report).run()
    finally:
        claims.release()
